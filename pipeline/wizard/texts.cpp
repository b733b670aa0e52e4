#include "pipeline/wizard/texts.hpp"

#include <algorithm>
#include <map>

#include "base/text.hpp"

namespace pipeline::wizard {

namespace {

struct Table {
  std::map<std::string, std::vector<std::string>, std::less<>> rows;  // key -> a text a language
};

// One line a key: key, English, German, Czech, with tabs in between.
const Table& table() {
  static const Table kTable = [] {
    Table t;
    for (const auto& line : base::split(asset("texts.tsv"), '\n')) {
      auto cells = base::split(line, '\t');
      if (line.empty() || line.front() == '#') continue;
      cells.resize(1 + languages().size());
      t.rows[cells[0]] = {cells.begin() + 1, cells.end()};
    }
    return t;
  }();
  return kTable;
}

}  // namespace

const std::vector<std::pair<std::string, std::string>>& languages() {
  static const std::vector<std::pair<std::string, std::string>> kLanguages = {
      {"en", "English"}, {"de", "Deutsch"}, {"cs", "Čeština"}};
  return kLanguages;
}

std::string language_for(std::string_view chosen, std::string_view accept) {
  const auto known = [](std::string_view code) {
    return std::any_of(languages().begin(), languages().end(), [&](const auto& l) { return l.first == code; });
  };
  if (known(chosen)) return std::string(chosen);
  // Browsers list them in the order of preference; weights only repeat it.
  for (const auto& part : base::split(accept, ',')) {
    const auto tag = base::lower(base::trim(std::string_view(part).substr(0, part.find(';'))));
    if (const auto code = tag.substr(0, tag.find('-')); known(code)) return code;
  }
  return "en";
}

std::string_view text_of(const std::string& language, std::string_view key) {
  const auto row = table().rows.find(key);
  if (row == table().rows.end()) return key;
  const auto it =
      std::find_if(languages().begin(), languages().end(), [&](const auto& l) { return l.first == language; });
  return row->second[it == languages().end() ? 0 : static_cast<std::size_t>(it - languages().begin())];
}

}  // namespace pipeline::wizard
