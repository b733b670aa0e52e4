// Where things are in a 4D configuration. Its format was never published, so no element name is known to the reader: a
// mapping says where things are. The shipped one is assumed, and says so; a site that has real files writes its own.
//
// A mapping is JSON (comments allowed). What it does not mention keeps the shipped value, null switches a rule off:
//
//   { "main": "WSMailboxServer.prefs.xml",
//     "post_offices": {"file": "PostOffices/[]/File"},
//     "account": {"login": "@id", "password": {"at": "Secret", "decoder": "base64"},
//                 "imap_enabled": {"at": "DisableIMAP", "invert": true}} }
//
// Paths: names joined by "/", from below the root element; "[]" each child, "@name" an attribute, "name()" the node's
// own name (for a dict whose keys are the log-ins). Keys of property lists count as names.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.hpp"

namespace extract {

struct PathStep {
  enum class Kind : std::uint8_t { child, each, attribute, own_name };
  Kind kind = Kind::child;
  std::string name;
};

struct Path {
  std::string text;  // as written; empty: the rule is off
  std::vector<PathStep> steps;
  bool off() const { return steps.empty(); }
};

enum class Decoder : std::uint8_t { plain, base64 };

struct Rule {
  Path at;
  Decoder decoder = Decoder::plain;  // passwords only
  bool invert = false;               // yes/no values only
  Path only_if;                      // not_migrated only: counts where this is yes
};

// One kind of thing that is reported as not migrated.
struct NotMigratedRule {
  std::string kind;
  Rule rule;
};

struct Mapping {
  std::string origin;    // for messages: "the shipped mapping", or the file
  bool assumed = false;  // every name is the shipped assumption

  std::string main;  // name of the main file inside the configuration folder
  Rule imap_port, imap_enabled;

  // Where Post Offices are; exactly one of the three is set.
  Path post_office_files;        // each value: a file, relative to the main file's folder
  Path post_offices_inline;      // each node: a Post Office
  std::string post_office_scan;  // "folder/*.xml": every such file is a Post Office, by name

  Rule post_office_name, domains, accounts;  // below a Post Office's root (or inline node)
  std::vector<NotMigratedRule> post_office_not_migrated;
  Rule login, password, full_name, login_enabled, account_imap_enabled;  // below an account
  std::vector<NotMigratedRule> account_not_migrated;
};

// The JSON text of the shipped mapping: a start for a site's own.
std::string_view default_mapping_json();
const Mapping& default_mapping();

// Error texts are "FILE[:LINE]: what is wrong" and name the key.
[[nodiscard]] base::Result<Mapping> parse_mapping(const std::string& json, const std::string& file);
[[nodiscard]] base::Result<Mapping> read_mapping(const std::string& path);

}  // namespace extract
