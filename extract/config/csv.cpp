#include "extract/config/csv.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.hpp"
#include "extract/config/config_file.hpp"

namespace extract {
namespace {

constexpr std::size_t kMaxCsvOctets = std::size_t{64} << 20;
constexpr std::size_t kMaxFields = 64;  // of a record

auto refuse(const std::string& file, std::size_t line, std::string_view what) {
  return base::fail(base::Scope::run, base::Remedy::ask_admin,
                    fmt::format("{}:{}: {}", base::printable(file), line, what));
}

char separator_of(const std::string& text, std::size_t at) {
  bool inside = false;
  for (; at < text.size() && (inside || (text[at] != '\n' && text[at] != '\r')); ++at) {
    if (text[at] == '"') inside = !inside;
    if (text[at] == ';' && !inside) return ';';
  }
  return ',';
}

}  // namespace

base::Result<std::vector<CsvRecord>> parse_csv(const std::string& text, const std::string& file) {
  if (text.starts_with("\xFF\xFE") || text.starts_with("\xFE\xFF"))
    return refuse(file, 1, "it is in UTF-16; save it as UTF-8");
  if (const auto bad = first_not_utf8(text); bad != std::string::npos)
    return refuse(file, line_of(text, bad),
                  "not UTF-8; convert the file with: iconv -f WINDOWS-1252 -t UTF-8 (or MACINTOSH)");
  if (const auto nul = text.find('\0'); nul != std::string::npos)
    return refuse(file, line_of(text, nul), "a NUL in the text");

  std::size_t at = text.starts_with("\xEF\xBB\xBF") ? 3 : 0;
  const char separator = separator_of(text, at);
  std::size_t line = 1;
  std::vector<CsvRecord> records;
  CsvRecord record{1, {}};
  // Over one line end, if there is one.
  const auto line_end = [&] {
    if (at >= text.size() || (text[at] != '\n' && text[at] != '\r')) return false;
    at += text[at] == '\r' && at + 1 < text.size() && text[at + 1] == '\n' ? 2 : 1;
    ++line;
    return true;
  };
  while (at < text.size()) {
    std::string field;
    bool was_quoted = false;
    if (text[at] == '"') {
      was_quoted = true;
      const auto opened = line;
      for (++at;;) {
        if (at >= text.size()) return refuse(file, opened, "a quoted field that begins here never ends");
        const auto from = at;
        if (text[at] == '"') {
          ++at;
          if (at >= text.size() || text[at] != '"') break;
          ++at;
          field += '"';
        } else if (line_end()) {
          field.append(text, from, at - from);
        } else {
          field += text[at++];
        }
      }
      if (at < text.size() && text[at] != separator && text[at] != '\n' && text[at] != '\r')
        return refuse(file, line, "text after the closing quote of a field (a quote inside quotes is written twice)");
    } else {
      const auto end = std::min(text.find_first_of(std::string{separator, '\r', '\n'}, at), text.size());
      field = text.substr(at, end - at);
      at = end;
    }
    record.fields.push_back(std::move(field));
    if (record.fields.size() > kMaxFields)
      return refuse(file, record.line, fmt::format("more than {} fields", kMaxFields));
    if (at < text.size() && text[at] == separator) {
      if (++at < text.size()) continue;
      record.fields.emplace_back();  // the file ends with a separator
    }
    line_end();
    const bool blank = record.fields.size() == 1 && !was_quoted && base::trim(record.fields[0]).empty();
    if (!blank) records.push_back(std::move(record));
    record = CsvRecord{line, {}};
  }
  return records;
}

base::Result<Csv> read_csv(const std::string& path) {
  TRY(const auto content, read_config_file(path, kMaxCsvOctets));
  Csv csv;
  TRY(csv.records, parse_csv(content.octets, path));
  csv.open_to_others = content.open_to_others;
  return csv;
}

}  // namespace extract
