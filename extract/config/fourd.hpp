// Reads the configuration of a 4D mail server from a folder (or a copy of it) into plain values, by a mapping.
//
// Guarantee (R9): a configuration is read whole or not at all; the first file that is missing or damaged is an error
// that names it. What can be read but not used fails as little as possible: an account (skip_reason), a Post Office
// (problems). Passwords are decoded by the mapping's decoder or are unreadable; none is guessed, and none is ever part
// of a text made here. No state, no threads, nothing written.
//
//   TRY(auto configuration, extract::read_4d("/Applications/4DWebSTAR/MailboxServer", extract::default_mapping()));
#pragma once

#include <string>

#include "base/result.hpp"
#include "extract/config/mapping.hpp"
#include "extract/config/source_config.hpp"

namespace extract {

// R10: where 4D put it.
inline constexpr const char* kDefault4dPath = "/Applications/4DWebSTAR/MailboxServer";

// `path`: the folder that holds the mapping's main file, or the main file itself. The result is settled.
[[nodiscard]] base::Result<SourceConfiguration> read_4d(const std::string& path, const Mapping& mapping);

// What `4d2kms inspect` prints; meant to be mailed to strangers. A configuration that the mapping fits: Post Offices,
// accounts, what is not migrated, unused nodes; passwords are "set" or "none". Files that it does not fit: the XML tree
// with names as they are, and values only where they cannot be secret, because in an unknown schema any text may be a
// password.
[[nodiscard]] base::Result<std::string> inspect_4d(const std::string& path, const Mapping& mapping);

// The first of these for any configuration, 4D or roster.
std::string describe(const SourceConfiguration& configuration);

}  // namespace extract
