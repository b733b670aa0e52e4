// Follows the paths of a mapping through a tree and remembers which nodes some rule used.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "extract/config/mapping.hpp"
#include "extract/config/xml_tree.hpp"

namespace extract {

// What a path led to: a node, its name, or one of its attributes.
struct Hit {
  const Node* node = nullptr;
  const std::string* attribute = nullptr;  // value
  bool own_name = false;
  std::string_view text() const { return attribute ? *attribute : own_name ? node->name : node->text; }
};

// The tree must outlive it and stay where it is.
class Walker {
 public:
  explicit Walker(const std::string& file);

  // In document order; empty when the path is off.
  std::vector<Hit> find(const Node& from, const Path& path);
  std::optional<Hit> first(const Node& from, const Path& path);
  // Everything below counts as used.
  void use_all(const Hit& hit);

  // "FILE:LINE", fit for terminals.
  std::string where(const Hit& hit) const { return where(*hit.node); }
  std::string where(const Node& node) const;

  // "FILE:LINE PATH" of each topmost node or attribute below root that nothing used, in document order; what occurs
  // several times at one path is told once, with its number. Names only, no values.
  std::vector<std::string> unused(const Node& root) const;

 private:
  std::string file_;
  std::unordered_set<const void*> used_;  // nodes and attribute values
};

// One line of text about a node that is reported, not used: its text, or the names and texts of what is directly
// inside. Texts under names that look like secrets are left out.
std::string summary(const Hit& hit);

}  // namespace extract
