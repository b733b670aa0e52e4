#include "extract/config/fourd.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <unordered_set>

#include "base/text.hpp"
#include "extract/config/tree_view.hpp"
#include "extract/config/walker.hpp"
#include "extract/config/xml_tree.hpp"

namespace extract {
namespace {

namespace fs = std::filesystem;

// All files of one configuration together: 20,000 references to one file of 8 MiB must not fill the memory or the
// night.
constexpr std::size_t kMaxAllOctets = std::size_t{256} << 20;

auto refuse(std::string text) { return base::fail(base::Scope::run, base::Remedy::ask_admin, std::move(text)); }

std::string in_quotes(std::string_view s) { return "\"" + base::printable(s) + "\""; }

std::optional<bool> yes_or_no(std::string_view text) {
  const auto word = base::lower(base::trim(text));
  if (word == "true" || word == "yes" || word == "1" || word == "on") return true;
  if (word == "false" || word == "no" || word == "0" || word == "off") return false;
  return std::nullopt;
}

// What was read of a configuration, before anybody judges whether it is enough.
struct Reading {
  SourceConfiguration configuration;
  XmlTree main;
  std::vector<std::string> odd_files;  // Post Office files in which the mapping found neither domains nor accounts
};

class Reader {
 public:
  explicit Reader(const Mapping& mapping) : mapping_(mapping) {}

  base::Result<Reading> read(const std::string& path) {
    TRY(const auto main_file, find_main(path));
    folder_ = fs::path(main_file).parent_path();
    auto main = read_xml(main_file);
    if (!main)
      return refuse(
          fmt::format("Could not read the source configuration: {}. Nothing was migrated. Repair the file or restore "
                      "it from a backup, then run again.",
                      main.error().text));
    reading_.main = *std::move(main);
    Walker walker(reading_.main.file);
    read_imap(walker);
    if (!mapping_.post_offices_inline.off()) {
      for (const auto& hit : walker.find(reading_.main.root, mapping_.post_offices_inline))
        read_post_office(walker, *hit.node, reading_.main.file);
    } else {
      TRY(const auto files, post_office_files(walker));
      for (const auto& file : files) {
        if (auto r = read_post_office_file(file); !r) return tl::unexpected<base::Error>(std::move(r).error());
      }
    }
    append_unused(walker.unused(reading_.main.root));
    finish(main_file);
    return std::move(reading_);
  }

 private:
  struct NamedFile {
    std::string path;
    std::string named_at;  // "named at FILE:LINE" or "found in FOLDER"
  };

  base::Result<std::string> find_main(const std::string& path) {
    std::error_code error;
    const auto status = fs::status(path, error);
    if (!fs::exists(status))
      return refuse(
          fmt::format("Could not find the source configuration: {} {}. Give the folder that holds {} with "
                      "--source-path, or the accounts with --roster.",
                      base::printable(path),
                      error && error != std::errc::no_such_file_or_directory ? "cannot be reached: " + error.message()
                                                                             : "does not exist",
                      in_quotes(mapping_.main)));
    if (!fs::is_directory(status)) return path;
    const auto main = (fs::path(path) / mapping_.main).string();
    const bool there = fs::exists(main, error);
    if (error)
      return base::fail(
          base::Scope::run, base::Remedy::ask_admin,
          fmt::format("Could not look for the source configuration {} in the folder {}: {}. Run as a user who "
                      "may read all of it.",
                      in_quotes(mapping_.main), base::printable(path), error.message()));
    if (!there)
      return refuse(
          fmt::format("Could not find the source configuration: there is no {} in the folder {}. Give the folder "
                      "that holds it, or the file itself, with --source-path.",
                      in_quotes(mapping_.main), base::printable(path)));
    return main;
  }

  void read_imap(Walker& walker) {
    auto& configuration = reading_.configuration;
    for (const auto& hit : walker.find(reading_.main.root, mapping_.imap_port.at)) {
      const auto text = base::trim(hit.text());
      unsigned port = 0;
      for (const char c : text)
        port = c >= '0' && c <= '9' && port <= 65535 ? port * 10 + static_cast<unsigned>(c - '0') : 65536;
      if (port == 0 || port > 65535)
        configuration.notes.push_back(fmt::format("{}: {} is not a port number; --source-port or 143 is used.",
                                                  walker.where(hit), mapping_.imap_port.at.text));
      else configuration.imap_port = static_cast<std::uint16_t>(port);
      break;
    }
    for (const auto& hit : walker.find(reading_.main.root, mapping_.imap_enabled.at)) {
      const auto value = yes_or_no(hit.text());
      if (!value)
        configuration.notes.push_back(fmt::format("{}: {} is neither yes nor no; it is taken as yes.",
                                                  walker.where(hit), mapping_.imap_enabled.at.text));
      else configuration.imap_enabled = *value != mapping_.imap_enabled.invert;
      break;
    }
    if (!configuration.imap_enabled)
      configuration.notes.emplace_back("The IMAP service is switched off in the source configuration: switch it on.");
  }

  base::Result<std::vector<NamedFile>> post_office_files(Walker& walker) {
    if (!mapping_.post_office_scan.empty()) return scan_files();
    std::vector<NamedFile> files;
    for (const auto& hit : walker.find(reading_.main.root, mapping_.post_office_files)) {
      const std::string name(base::trim(hit.text()));
      TRY(auto path, inside_folder(name, walker.where(hit)));
      files.push_back({std::move(path), "named at " + walker.where(hit)});
    }
    return files;
  }

  // The main file may name files only below its own folder: it may be a stranger's, and we may be root.
  base::Result<std::string> inside_folder(const std::string& name, const std::string& where) {
    const auto refuse_name = [&](std::string_view what) {
      return refuse(
          fmt::format("Could not read the source configuration: {}: the Post Office file {} {}. Nothing was migrated. "
                      "Copy the file into the configuration's folder and name it relative to that, then run again.",
                      where, in_quotes(name), what));
    };
    if (name.empty()) return refuse_name("has no name");
    if (name.find('\0') != std::string::npos) return refuse_name("has a NUL in its name");
    const fs::path given(name);
    std::error_code error;
    const auto folder = fs::absolute(folder_.empty() ? fs::path(".") : folder_, error).lexically_normal();
    const auto full = (given.is_absolute() ? given : folder / given).lexically_normal();
    const auto relative = full.lexically_relative(folder);
    if (relative.empty() || *relative.begin() == ".." || relative == ".")
      return refuse_name("lies outside the configuration's folder");
    return (folder_ / relative).string();
  }

  base::Result<std::vector<NamedFile>> scan_files() {
    const fs::path pattern(mapping_.post_office_scan);
    TRY(const auto probe, inside_folder(mapping_.post_office_scan, mapping_.origin));
    const auto folder = fs::path(probe).parent_path();
    std::error_code error;
    std::vector<NamedFile> files;
    fs::directory_iterator entries(folder.empty() ? fs::path(".") : folder, error);
    for (; !error && entries != fs::directory_iterator(); entries.increment(error)) {
      const auto name = entries->path().filename().string();
      if (name == mapping_.main || name.starts_with(".") || !base::glob_match(pattern.filename().string(), name))
        continue;
      files.push_back({(folder / name).string(), "found in " + folder.string()});
    }
    if (error)
      return refuse(
          fmt::format("Could not read the source configuration: cannot list the folder {}: {}. Nothing was migrated.",
                      base::printable(folder.string()), error.message()));
    std::sort(files.begin(), files.end(), [](const auto& a, const auto& b) { return a.path < b.path; });
    reading_.configuration.notes.push_back(
        fmt::format("Post Offices are the files {} in the order of their names; a missing one cannot be noticed.",
                    in_quotes(mapping_.post_office_scan)));
    return files;
  }

  base::Result<void> read_post_office_file(const NamedFile& file) {
    std::error_code error;
    const auto size = fs::file_size(file.path, error);
    if (!error) all_octets_ += size;
    if (all_octets_ > kMaxAllOctets)
      return refuse(
          fmt::format("Could not read the source configuration: its Post Office files are more than {} together, at "
                      "{} ({}). Nothing was migrated.",
                      base::human_octets(kMaxAllOctets), base::printable(file.path), file.named_at));
    auto tree = read_xml(file.path);
    if (!tree)
      return refuse(
          fmt::format("Could not read the configuration of a Post Office: {} ({}). Nothing was migrated. Repair the "
                      "file or restore it from a backup, then run again.",
                      tree.error().text, file.named_at));
    Walker walker(file.path);
    read_post_office(walker, tree->root, file.path);
    append_unused(walker.unused(tree->root));
    return {};
  }

  void read_post_office(Walker& walker, const Node& root, const std::string& file) {
    PostOffice po;
    po.where = walker.where(root);
    if (const auto name = walker.first(root, mapping_.post_office_name.at)) {
      po.name = std::string(base::trim(name->text()));
    } else if (mapping_.post_office_name.at.off()) {
      po.name = fs::path(file).stem().string();
    }
    for (const auto& hit : walker.find(root, mapping_.domains.at)) {
      po.domains.push_back(base::lower(base::trim(hit.text())));
      po.domain_where.push_back(walker.where(hit));
    }
    collect_not_migrated(walker, root, mapping_.post_office_not_migrated, po.not_migrated);
    for (const auto& hit : walker.find(root, mapping_.accounts.at))
      if (hit.node) po.accounts.push_back(read_account(walker, *hit.node, po));
    if (po.domains.empty() && po.accounts.empty()) reading_.odd_files.push_back(file);
    if (po.accounts.empty())
      reading_.configuration.notes.push_back(
          fmt::format("The Post Office {} ({}) has no accounts, says the mapping ({}).", display_name(po),
                      base::printable(po.where), mapping_.accounts.at.text));
    reading_.configuration.post_offices.push_back(std::move(po));
  }

  SourceAccount read_account(Walker& walker, const Node& node, const PostOffice& po) {
    SourceAccount account;
    account.post_office = po.name;
    account.where = walker.where(node);
    std::vector<std::string> faults;
    // Two values where one is due: the first is not better than the second.
    const auto single = [&](const Rule& rule, std::string_view what) -> std::optional<Hit> {
      auto hits = walker.find(node, rule.at);
      if (hits.size() > 1) faults.push_back(fmt::format("its {} is given {} times", what, hits.size()));
      if (hits.size() != 1) return std::nullopt;
      return hits[0];
    };
    if (const auto hit = single(mapping_.login, "log-in name")) account.login = std::string(base::trim(hit->text()));
    if (const auto hit = single(mapping_.full_name, "full name"))
      account.full_name = std::string(base::trim(hit->text()));
    // Not by single(): a roster can mend this one.
    if (const auto hits = walker.find(node, mapping_.password.at); !hits.empty())
      account.password_readable =
          hits.size() == 1 && read_password(hits[0], mapping_.password.decoder, account.password);
    const auto flag = [&](const Rule& rule, bool& value) {
      const auto hit = single(rule, rule.at.text);
      if (!hit) return;
      if (const auto said = yes_or_no(hit->text())) value = *said != rule.invert;
      else
        faults.push_back(fmt::format("{} ({}) is neither yes nor no", base::printable(rule.at.text),
                                     base::printable(walker.where(*hit))));
    };
    flag(mapping_.login_enabled, account.login_enabled);
    flag(mapping_.account_imap_enabled, account.imap_enabled);
    collect_not_migrated(walker, node, mapping_.account_not_migrated, account.not_migrated);
    account.fault = base::join(faults, "; ");

    const auto domain = domain_of(account.login);
    if (!domain.empty()) account.address = local_part_of(account.login) + "@" + domain;
    else
      account.address =
          po.domains.empty() || account.login.empty() ? account.login : account.login + "@" + po.domains[0];
    return account;
  }

  // False: there is something, but it is not a password that an IMAP log-in could send.
  static bool read_password(const Hit& hit, Decoder decoder, base::Secret& password) {
    if (hit.node && !hit.attribute && !hit.node->children.empty()) return false;  // a structure where a text is due
    std::string text(hit.text());
    if (decoder == Decoder::base64) {
      std::string packed;
      for (const char c : text)
        if (c != ' ' && c != '\t' && c != '\r' && c != '\n') packed += c;
      // Strict, by encoding it again: decoders pass over stray padding and bits.
      if (!base::base64_decode(packed, text) || base::base64_encode(text) != packed) return false;
    }
    if (!base::valid_utf8(text) || text.find_first_of(std::string_view("\0\r\n", 3)) != std::string::npos) return false;
    password = base::Secret(text);
    return true;
  }

  void collect_not_migrated(Walker& walker, const Node& node, const std::vector<NotMigratedRule>& rules,
                            std::vector<NotMigrated>& out) {
    for (const auto& [kind, rule] : rules) {
      const auto hits = walker.find(node, rule.at);
      for (const auto& hit : hits) walker.use_all(hit);
      if (!rule.only_if.off()) {
        const auto condition = walker.first(node, rule.only_if);
        if (!condition || !yes_or_no(condition->text()).value_or(true)) continue;
      }
      for (const auto& hit : hits) {
        auto detail = summary(hit);
        // Empty, 0 and no are how "none" is written.
        if (detail.empty() || yes_or_no(detail) == std::optional(false)) continue;
        out.push_back({kind, std::move(detail)});
      }
    }
  }

  void append_unused(std::vector<std::string> unused) {
    auto& all = reading_.configuration.unused;
    all.insert(all.end(), std::make_move_iterator(unused.begin()), std::make_move_iterator(unused.end()));
  }

  void finish(const std::string& main_file) {
    auto& configuration = reading_.configuration;
    configuration.description = fmt::format("4D configuration {} ({}), {}", base::printable(main_file),
                                            reading_.main.format == XmlFormat::property_list ? "property list" : "XML",
                                            base::plural(configuration.post_offices.size(), "Post Office"));
    if (mapping_.assumed)
      configuration.notes.emplace_back(
          "The names in the configuration are assumed, because 4D never published its format: compare the accounts "
          "with what the "
          "4D server itself shows. Other names can be given with --source-mapping.");
    settle(configuration);
  }

  const Mapping& mapping_;
  Reading reading_;
  fs::path folder_;
  std::uintmax_t all_octets_ = 0;
};

std::string password_state(const SourceAccount& account) {
  if (!account.password_readable) return "unreadable";
  return account.password.empty() ? "none" : "set";
}

void list(std::string& out, std::string_view title, const std::vector<std::string>& lines) {
  if (lines.empty()) return;
  out += fmt::format("\n{}:\n", title);
  for (const auto& line : lines) out += "  " + base::printable(line) + "\n";
}

// Configuration files that lie in the folder, for the writer of a mapping. A mail store may lie there too: bounded.
std::vector<std::string> files_beside(const std::string& main_file) {
  constexpr std::size_t kMaxLooked = 20'000, kMaxListed = 200;
  std::vector<std::string> names;
  std::error_code error;
  const auto folder = fs::path(main_file).parent_path();
  fs::recursive_directory_iterator entries(folder.empty() ? fs::path(".") : folder,
                                           fs::directory_options::skip_permission_denied, error);
  for (std::size_t looked = 0; !error && entries != fs::recursive_directory_iterator() && looked < kMaxLooked;
       ++looked) {
    const auto extension = base::lower(entries->path().extension().string());
    if (extension == ".xml" || extension == ".plist" || extension == ".prefs")
      names.push_back(entries->path().lexically_relative(folder.empty() ? fs::path(".") : folder).string());
    if (entries.depth() >= 3) entries.disable_recursion_pending();
    entries.increment(error);
  }
  std::sort(names.begin(), names.end());
  if (names.size() > kMaxListed) {
    const auto more = names.size() - kMaxListed;
    names.resize(kMaxListed);
    names.push_back(fmt::format("... {} more", more));
  }
  return names;
}

}  // namespace

base::Result<SourceConfiguration> read_4d(const std::string& path, const Mapping& mapping) {
  TRY(auto reading, Reader(mapping).read(path));
  if (reading.configuration.post_offices.empty()) {
    const auto& looked = !mapping.post_office_scan.empty()    ? mapping.post_office_scan
                         : !mapping.post_offices_inline.off() ? mapping.post_offices_inline.text
                                                              : mapping.post_office_files.text;
    return refuse(
        fmt::format("Could not read the source configuration: {} is good XML, but there is no Post Office at {}, where "
                    "{} says that they are. Nothing was migrated. See with \"4d2kms inspect\" what the file holds and "
                    "write a --source-mapping, or give the accounts with --roster.",
                    base::printable(reading.main.file), in_quotes(looked), base::printable(mapping.origin)));
  }
  return std::move(reading.configuration);
}

std::string describe(const SourceConfiguration& configuration) {
  std::string out = base::printable(configuration.description) + "\n";
  out += fmt::format("IMAP: {}, port {}\n", configuration.imap_enabled ? "enabled" : "disabled",
                     configuration.imap_port ? std::to_string(configuration.imap_port) : "not said");

  std::vector<std::vector<std::string>> offices = {{"Post Office", "SMTP domains", "Accounts", "To migrate", "State"}};
  std::vector<std::vector<std::string>> accounts = {{"Post Office", "Address", "Full name", "Password", "State"}};
  std::vector<std::string> problems, not_migrated;
  for (const auto& po : configuration.post_offices) {
    const auto name = po.name.empty() ? "(no name)" : base::printable(po.name);
    const auto good = static_cast<std::size_t>(
        std::count_if(po.accounts.begin(), po.accounts.end(), [](const auto& a) { return a.skip_reason.empty(); }));
    offices.push_back({name, base::printable(base::join(po.domains, ", ")), std::to_string(po.accounts.size()),
                       std::to_string(po.problems.empty() ? good : 0), po.problems.empty() ? "ok" : "fails"});
    for (const auto& text : po.problems)
      if (std::find(problems.begin(), problems.end(), text) == problems.end()) problems.push_back(text);
    for (const auto& item : po.not_migrated)
      not_migrated.push_back(fmt::format("Post Office {}: {}: {}", display_name(po), item.kind, item.detail));
    for (const auto& account : po.accounts) {
      accounts.push_back({name, base::printable(account.address.empty() ? account.where : account.address),
                          base::printable(account.full_name), password_state(account),
                          account.skip_reason.empty() ? "ok" : "skipped: " + base::printable(account.skip_reason)});
      for (const auto& item : account.not_migrated)
        not_migrated.push_back(fmt::format("{}: {}: {}", account.address, item.kind, item.detail));
    }
  }
  out += "\n" + base::table(offices, {2, 3}) + "\n" + base::table(accounts, {});
  list(out, "Problems", problems);
  list(out, "Seen, but not migrated", not_migrated);
  if (!configuration.ambiguous_logins.empty())
    list(out, "Log-ins that more than one Post Office has (see --source-login)", configuration.ambiguous_logins);
  list(out, "Notes", configuration.notes);
  list(out, "Not used by any mapping rule", configuration.unused);
  return out;
}

base::Result<std::string> inspect_4d(const std::string& path, const Mapping& mapping) {
  TRY(const auto reading, Reader(mapping).read(path));
  const bool known = !reading.configuration.post_offices.empty();
  std::string out;
  if (known) out = describe(reading.configuration);
  if (!known || !reading.odd_files.empty()) {
    out += fmt::format(
        "{}{} does not fit {}. Below is what the files hold, with every value hidden that might be a secret, so that "
        "a mapping can be written.\n",
        known ? "\n" : "", base::printable(known ? reading.odd_files.front() : reading.main.file),
        base::printable(mapping.origin));
    const auto show = [&](const XmlTree& tree) {
      out += fmt::format("\n{} ({})\n{}", base::printable(tree.file),
                         tree.format == XmlFormat::property_list ? "property list" : "XML", masked_tree(tree.root));
    };
    if (!known) show(reading.main);
    std::unordered_set<std::string> shown;
    for (const auto& file : reading.odd_files) {
      if (file == reading.main.file || shown.size() == 3 || !shown.insert(file).second) continue;  // three say enough
      TRY(const auto tree, read_xml(file));
      show(tree);
    }
    if (known &&
        std::find(reading.odd_files.begin(), reading.odd_files.end(), reading.main.file) != reading.odd_files.end())
      show(reading.main);
    if (!known) list(out, "Configuration files in the folder", files_beside(reading.main.file));
  }
  return out;
}

}  // namespace extract
