#include "extract/config/mapping.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <initializer_list>

#include "base/text.hpp"
#include "extract/config/config_file.hpp"

namespace extract {
namespace {

namespace json = boost::json;

constexpr std::size_t kMaxMappingOctets = std::size_t{1} << 20;
constexpr std::size_t kMaxMappingDepth = 32;
constexpr std::size_t kMaxPathSteps = 32;

constexpr std::string_view kDefaultJson = R"json({
  // ASSUMED: no description of 4D's files is public. Compare `4d2kms inspect` with what the 4D server itself shows.
  "main": "WSMailboxServer.prefs.xml",
  "imap": {"port": "IMAP/Port", "enabled": "IMAP/Enabled"},
  "post_offices": {"file": "PostOffices/[]/File"},
  "post_office": {
    "name": "Name",
    "domains": "LocalMailDomains/[]",
    "accounts": "Users/[]",
    "not_migrated": {"list": "MailingLists/[]"}
  },
  "account": {
    "login": "AccountID",
    "password": {"at": "Password", "decoder": "plain"},
    "full_name": "FullName",
    "login_enabled": "LoginEnabled",
    "imap_enabled": {"at": "DisableIMAP", "invert": true},
    "not_migrated": {
      "alias": "Aliases/[]",
      "forward": "ForwardTo",
      "auto-reply": {"at": "AutoReply", "if": "AutoReply/Enabled"},
      "quota": "Quota"
    }
  }
})json";

std::string shown(std::string_view s) { return base::printable(s.substr(0, 80)); }

// Reads one mapping onto another; every error names file and key.
class Reader {
 public:
  Reader(std::string file, Mapping& mapping) : file_(std::move(file)), mapping_(mapping) {}

  base::Result<void> read(const json::value& document) {
    if (!document.is_object()) return fault("", "the mapping is not a JSON object");
    const auto& top = document.get_object();
    if (auto r = known(top, "", {"main", "imap", "post_offices", "post_office", "account"}); !r) return r;
    if (auto r = read_main(top); !r) return r;
    if (const auto* imap = section(top, "imap")) {
      if (auto r = known(*imap, "imap.", {"port", "enabled"}); !r) return r;
      rule(*imap, "imap.", "port", {}, mapping_.imap_port);
      rule(*imap, "imap.", "enabled", {"invert"}, mapping_.imap_enabled);
    }
    if (const auto* places = section(top, "post_offices")) post_offices(*places);
    if (const auto* po = section(top, "post_office")) {
      if (auto r = known(*po, "post_office.", {"name", "domains", "accounts", "not_migrated"}); !r) return r;
      rule(*po, "post_office.", "name", {}, mapping_.post_office_name);
      rule(*po, "post_office.", "domains", {}, mapping_.domains);
      rule(*po, "post_office.", "accounts", {}, mapping_.accounts);
      not_migrated(*po, "post_office.", mapping_.post_office_not_migrated);
    }
    if (const auto* account = section(top, "account")) {
      if (auto r = known(*account, "account.",
                         {"login", "password", "full_name", "login_enabled", "imap_enabled", "not_migrated"});
          !r)
        return r;
      rule(*account, "account.", "login", {}, mapping_.login);
      rule(*account, "account.", "password", {"decoder"}, mapping_.password);
      rule(*account, "account.", "full_name", {}, mapping_.full_name);
      rule(*account, "account.", "login_enabled", {"invert"}, mapping_.login_enabled);
      rule(*account, "account.", "imap_enabled", {"invert"}, mapping_.account_imap_enabled);
      not_migrated(*account, "account.", mapping_.account_not_migrated);
    }
    needed("post_office.domains", mapping_.domains);
    needed("post_office.accounts", mapping_.accounts);
    needed("account.login", mapping_.login);
    if (!error_.empty()) return base::fail(base::Scope::run, base::Remedy::ask_admin, error_, base::Exit::usage);
    return {};
  }

 private:
  // Keeps the first fault; the functions below go on harmlessly after it.
  void note(std::string_view key, std::string_view what) {
    if (error_.empty())
      error_ = fmt::format("{}: {}{}{}", base::printable(file_), shown(key), key.empty() ? "" : ": ", what);
  }
  base::Result<void> fault(std::string_view key, std::string_view what) {
    note(key, what);
    return base::fail(base::Scope::run, base::Remedy::ask_admin, error_, base::Exit::usage);
  }

  base::Result<void> known(const json::object& object, std::string_view prefix,
                           std::initializer_list<std::string_view> keys) {
    for (const auto& member : object) {
      const std::string_view key(member.key().data(), member.key().size());
      if (std::find(keys.begin(), keys.end(), key) == keys.end())
        return fault(fmt::format("{}{}", prefix, key),
                     fmt::format("no such key; here are: {}", fmt::join(keys.begin(), keys.end(), ", ")));
    }
    return {};
  }

  const json::object* section(const json::object& top, std::string_view key) {
    const auto* value = top.if_contains({key.data(), key.size()});
    if (!value) return nullptr;
    if (!value->is_object()) note(key, "is to be an object, { ... }");
    return value->if_object();
  }

  base::Result<void> read_main(const json::object& top) {
    const auto* value = top.if_contains("main");
    if (!value) return {};
    if (!value->is_string()) return fault("main", "is to be the name of a file");
    mapping_.main = std::string(value->get_string());
    if (mapping_.main.empty() || mapping_.main.find('/') != std::string::npos || mapping_.main == ".." ||
        mapping_.main.find('\0') != std::string::npos)
      return fault("main", "is to be the name of a file in the configuration's folder, without \"/\"");
    return {};
  }

  void post_offices(const json::object& places) {
    if (places.size() != 1) return note("post_offices", "is to hold one of: file, inline, scan");
    const auto& member = *places.begin();
    const std::string_view key(member.key().data(), member.key().size());
    const auto full = fmt::format("post_offices.{}", key);
    if (key != "file" && key != "inline" && key != "scan")
      return note(full, "no such key; here are: file, inline, scan");
    if (!member.value().is_string()) return note(full, "is to be a string");
    const std::string text(member.value().get_string());
    mapping_.post_office_files = {};
    mapping_.post_offices_inline = {};
    mapping_.post_office_scan.clear();
    if (key == "scan") {
      if (text.empty()) return note(full, "is to be a pattern such as \"PostOffices/*.xml\"");
      mapping_.post_office_scan = text;
      return;
    }
    auto& target = key == "file" ? mapping_.post_office_files : mapping_.post_offices_inline;
    target = path(full, text);
    if (key == "inline" && !target.off() && target.steps.back().kind != PathStep::Kind::child &&
        target.steps.back().kind != PathStep::Kind::each)
      note(full, "is to lead to elements, not to an attribute or a name");
  }

  Path path(std::string_view key, const std::string& text) {
    Path out;
    out.text = text;
    const auto names = base::split(text, '/');
    if (names.size() > kMaxPathSteps) note(key, "the path is too long");
    for (std::size_t i = 0; i < names.size(); ++i) {
      const auto& name = names[i];
      PathStep step;
      step.name = name;
      if (name == "[]") {
        step.kind = PathStep::Kind::each;
      } else if (name == "name()") {
        step.kind = PathStep::Kind::own_name;
      } else if (name.starts_with("@")) {
        step.kind = PathStep::Kind::attribute;
        step.name.erase(0, 1);
      }
      const bool value_only = step.kind == PathStep::Kind::attribute || step.kind == PathStep::Kind::own_name;
      if (step.name.empty()) note(key, fmt::format("the path \"{}\" has an empty name", shown(text)));
      else if (value_only && i + 1 != names.size())
        note(key, fmt::format("\"{}\" is to be the end of the path \"{}\"", shown(name), shown(text)));
      out.steps.push_back(std::move(step));
    }
    return out;
  }

  // "path", {"at": path, ...} with the options allowed, or null.
  void rule(const json::object& object, std::string_view prefix, std::string_view key,
            std::initializer_list<std::string_view> options, Rule& rule) {
    const auto* value = object.if_contains({key.data(), key.size()});
    if (!value) return;
    const auto full = fmt::format("{}{}", prefix, key);
    rule = {};
    if (value->is_null()) return;
    if (value->is_string()) {
      rule.at = path(full, std::string(value->get_string()));
      return;
    }
    const auto* parts = value->if_object();
    if (!parts || !parts->contains("at")) return note(full, "is to be a path, {\"at\": path} or null");
    for (const auto& part : *parts) {
      const std::string_view name(part.key().data(), part.key().size());
      const auto part_key = fmt::format("{}.{}", full, name);
      if (name != "at" && std::find(options.begin(), options.end(), name) == options.end())
        return note(part_key, "no such key here");
      if (name == "invert") {
        if (!part.value().is_bool()) return note(part_key, "is to be true or false");
        rule.invert = part.value().get_bool();
        continue;
      }
      if (!part.value().is_string()) return note(part_key, "is to be a string");
      const std::string text(part.value().get_string());
      if (name == "at") {
        rule.at = path(part_key, text);
      } else if (name == "if") {
        rule.only_if = path(part_key, text);
      } else if (text == "plain" || text == "base64") {
        rule.decoder = text == "base64" ? Decoder::base64 : Decoder::plain;
      } else {
        return note(part_key, fmt::format("there is no decoder \"{}\"; there are: plain, base64", shown(text)));
      }
    }
  }

  void not_migrated(const json::object& object, std::string_view prefix, std::vector<NotMigratedRule>& rules) {
    const auto* value = object.if_contains("not_migrated");
    if (!value) return;
    const auto full = fmt::format("{}not_migrated", prefix);
    const auto* kinds = value->if_object();
    if (!kinds && !value->is_null()) return note(full, "is to be an object of kind and path, or null");
    rules.clear();
    if (!kinds) return;
    for (const auto& member : *kinds) {
      NotMigratedRule entry;
      entry.kind = std::string(member.key());
      rule(*kinds, full + ".", entry.kind, {"if"}, entry.rule);
      if (!entry.rule.at.off()) rules.push_back(std::move(entry));
    }
  }

  void needed(std::string_view key, const Rule& rule) {
    if (rule.at.off()) note(key, "may not be switched off: nothing could be read without it");
  }

  std::string file_;
  Mapping& mapping_;
  std::string error_;
};

base::Result<json::value> parse_json(const std::string& text, const std::string& file) {
  const auto refuse = [&](std::size_t line, std::string_view what) {
    return base::fail(base::Scope::run, base::Remedy::ask_admin,
                      fmt::format("{}:{}: {}", base::printable(file), line, what), base::Exit::usage);
  };
  json::parse_options options;
  options.max_depth = kMaxMappingDepth;
  options.allow_comments = true;
  json::stream_parser parser({}, options);
  json::error_code error;
  const std::size_t start = text.starts_with("\xEF\xBB\xBF") ? 3 : 0;
  const auto used = parser.write_some(text.data() + start, text.size() - start, error);
  if (error) return refuse(line_of(text, start + used), fmt::format("not valid JSON ({})", error.message()));
  if (start + used < text.size()) return refuse(line_of(text, start + used), "more text after the end of the JSON");
  parser.finish(error);
  if (error) return refuse(line_of(text, text.size()), "the JSON ends too early");
  return parser.release();
}

}  // namespace

std::string_view default_mapping_json() { return kDefaultJson; }

const Mapping& default_mapping() {
  static const Mapping mapping = [] {
    Mapping m;
    Reader reader("the shipped mapping", m);
    base::or_throw(reader.read(base::or_throw(parse_json(std::string(kDefaultJson), "the shipped mapping"))));
    m.origin = "the shipped mapping";
    m.assumed = true;
    return m;
  }();
  return mapping;
}

base::Result<Mapping> parse_mapping(const std::string& text, const std::string& file) {
  TRY(const auto document, parse_json(text, file));
  Mapping mapping = default_mapping();
  mapping.assumed = false;
  mapping.origin = file;
  if (auto r = Reader(file, mapping).read(document); !r) return tl::unexpected<base::Error>(std::move(r).error());
  return mapping;
}

base::Result<Mapping> read_mapping(const std::string& path) {
  TRY(const auto content, read_config_file(path, kMaxMappingOctets));
  return parse_mapping(content.octets, path);
}

}  // namespace extract
