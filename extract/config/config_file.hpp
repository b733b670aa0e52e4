// Configuration files as octets: regular files only, size capped before anything looks at the content (S16).
#pragma once

#include <cstddef>
#include <string>

#include "base/result.hpp"

namespace extract {

struct FileContent {
  std::string octets;
  bool open_to_others = false;  // group or others may read it: worth a note where it holds passwords (S25)
};

// Follows symbolic links on purpose: a copy of an old Mac's folder may be made of them. Never waits on a FIFO or a
// device. The error text is "PATH: what is wrong"; the caller says what was tried and what now.
[[nodiscard]] base::Result<FileContent> read_config_file(const std::string& path, std::size_t max_octets);

// 1-based line of an offset in text; CR, LF and CRLF each end one line (old Macs wrote CR).
std::size_t line_of(const std::string& text, std::size_t offset);
// Offset of the first octet that is not UTF-8, or npos.
std::size_t first_not_utf8(const std::string& text);

}  // namespace extract
