// XML configuration files as a small tree of our own, the same for generic XML and for Apple property lists.
//
// Guarantee: whatever the file holds, reading it takes time and memory linear in its size, and its size is capped. A
// file that is not well-formed, not UTF-8 or beyond the caps is an error that names file and line; nothing in it is
// guessed. Document order is kept (R1: the first SMTP domain names the target domain).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.hpp"

namespace extract {

// S16: tinyxml2 is quadratic in the attributes of a tag and spends about 120 octets on an element of 4, so these are
// checked by a linear scan before it sees the file.
inline constexpr std::size_t kMaxXmlOctets = std::size_t{8} << 20;
inline constexpr std::size_t kMaxXmlAttributes = 64;  // of one tag
inline constexpr std::size_t kMaxXmlTags = 200'000;   // start tags, comments, CDATA sections, instructions
inline constexpr std::size_t kMaxXmlDepth = 100;      // as deep as tinyxml2 itself goes, or a level less

// An element; in a property list a value. `name` is the element's name, or the key under which a dict holds the value
// (an array's values have the name of their type). `text` is all character data directly inside, untrimmed; a property
// list's true and false are "true" and "false", its data stays base64.
struct Node {
  std::string name;
  std::string text;
  std::vector<std::pair<std::string, std::string>> attributes;
  std::vector<Node> children;
  std::size_t line = 0;
};

enum class XmlFormat : std::uint8_t { generic, property_list };

struct XmlTree {
  std::string file;
  XmlFormat format = XmlFormat::generic;
  Node root;  // the document element; in a property list its one value, named "plist"
};

// Error texts are "FILE:LINE: what is wrong"; the caller says what was tried and what now.
[[nodiscard]] base::Result<XmlTree> read_xml(const std::string& path);
[[nodiscard]] base::Result<XmlTree> parse_xml(std::string content, const std::string& file);

}  // namespace extract
