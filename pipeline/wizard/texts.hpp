// The words of the pages, in every language there is: one table, texts.tsv. What the migration itself says stays as it
// is in the log: English.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace pipeline::wizard {

// Code and own name: ("en", "English"), ...
const std::vector<std::pair<std::string, std::string>>& languages();
// By what the person chose, else by Accept-Language (RFC 9110 §12.5.4), else English.
std::string language_for(std::string_view chosen, std::string_view accept);
// Every key has a text in every language: a test looks. An unknown key is a bug, and shows as itself.
std::string_view text_of(const std::string& language, std::string_view key);

// A file of assets/, or of the table: compiled in. Empty: there is none of that name.
std::string_view asset(std::string_view name);

}  // namespace pipeline::wizard
