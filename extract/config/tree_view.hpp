// A tree of unknown meaning, shown without its secrets: `4d2kms inspect` output is mailed to strangers.
//
// Names are the structure and are shown; a value is shown only where it cannot be a password, whatever its field means:
// yes and no, numbers under a name such as "Port", file names with the endings of configuration files. Everything else
// is told by its kind: <text>, <number>, <domain>, <address>, without its length. Whatever is below a name that looks
// like a secret is "***".
#pragma once

#include <string>
#include <string_view>

#include "extract/config/xml_tree.hpp"

namespace extract {

// password, pwd, secret, key, token, hash, PIN ... as an element's, key's or attribute's name.
bool looks_secret(std::string_view name);

// One line a node: "LINE  indented name @attribute=value = value". Long lists are cut, and say so.
std::string masked_tree(const Node& root);

}  // namespace extract
