// RFC 4180 records with the line each began in.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "base/result.hpp"

namespace extract {

struct CsvRecord {
  std::size_t line = 0;
  std::vector<std::string> fields;
};

struct Csv {
  std::vector<CsvRecord> records;  // without empty lines
  bool open_to_others = false;
};

// Regular UTF-8 files up to 64 MiB. Separator: ";" if the first line has one outside quotes, else ",". A quote inside a
// field that does not begin with one is an ordinary character. Error texts are "FILE:LINE: what is wrong"; no field is
// ever in them.
[[nodiscard]] base::Result<Csv> read_csv(const std::string& path);
[[nodiscard]] base::Result<std::vector<CsvRecord>> parse_csv(const std::string& text, const std::string& file);

}  // namespace extract
