#include "load/kerio/admin.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/fingerprint.hpp"
#include "base/text.hpp"

namespace load::kerio {

namespace asio = boost::asio;
namespace json = boost::json;

namespace {

const json::value* at(const json::object& o, std::string_view key) { return o.if_contains(key); }
// "a.b.c"; nothing where a step is missing or no object.
const json::value* path(const json::object& o, std::string_view names) {
  const json::object* here = &o;
  for (;;) {
    const auto dot = names.find('.');
    const auto* v = at(*here, names.substr(0, dot));
    if (v == nullptr || dot == std::string_view::npos) return v;
    if (!v->is_object()) return nullptr;
    here = &v->as_object();
    names.remove_prefix(dot + 1);
  }
}
std::string word(const json::value* v) {
  return v != nullptr && v->is_string() ? std::string(v->as_string()) : std::string();
}
bool yes(const json::value* v) { return v != nullptr && v->is_bool() && v->as_bool(); }
// Numbers come as numbers or, from Statistics, as strings.
std::optional<std::int64_t> number(const json::value* v) {
  if (v == nullptr) return std::nullopt;
  if (v->is_int64()) return v->as_int64();
  if (v->is_uint64() || v->is_double()) {
    const double d = v->to_number<double>();
    return std::abs(d) < 9e18 ? std::optional(static_cast<std::int64_t>(std::llround(d))) : std::nullopt;
  }
  if (!v->is_string()) return std::nullopt;
  const auto text = v->as_string();
  std::int64_t n = 0;
  const auto r = std::from_chars(text.data(), text.data() + text.size(), n);
  return r.ec == std::errc() && r.ptr == text.data() + text.size() ? std::optional(n) : std::nullopt;
}
// ByteValueWithUnits, or a plain number of octets.
std::optional<base::Octets> octets(const json::value* v) {
  if (v == nullptr) return std::nullopt;
  if (!v->is_object()) {
    const auto n = number(v);
    return n && *n >= 0 ? std::optional(static_cast<base::Octets>(*n)) : std::nullopt;
  }
  const auto n = number(at(v->as_object(), "value"));
  if (!n || *n < 0) return std::nullopt;
  static constexpr const char* kUnits[] = {"Bytes", "KiloBytes", "MegaBytes", "GigaBytes", "TeraBytes", "PetaBytes"};
  const std::string unit = word(at(v->as_object(), "units"));
  base::Octets factor = 1;
  for (const auto* u : kUnits) {
    if (base::iequals(unit, u)) break;
    factor *= 1024;
  }
  return static_cast<base::Octets>(*n) * factor;
}

std::vector<std::string> words(const json::value* v) {
  std::vector<std::string> out;
  if (v != nullptr && v->is_array())
    for (const auto& x : v->as_array())
      if (x.is_string()) out.push_back(base::lower(x.as_string()));
  return out;
}

struct Rule {
  const char* field;
  const char* what;
};
constexpr Rule kCleanOut[] = {{"autoDelete", "all mail"},
                              {"deletedItems", "Deleted Items"},
                              {"junkEmail", "Junk E-mail"},
                              {"sentItems", "Sent Items"}};

void add_clean_out(const json::object& o, std::vector<std::string>& out) {
  for (const auto& r : kCleanOut) {
    const auto* rule = at(o, r.field);
    if (rule == nullptr || !rule->is_object() || !yes(at(rule->as_object(), "isEnabled"))) continue;
    out.push_back(fmt::format("{} older than {} days is deleted by a clean-out rule", r.what,
                              number(at(rule->as_object(), "days")).value_or(0)));
  }
}

json::string text_of(std::string_view s) { return json::string(s); }

// Answers of a batch, matched by inputIndex and nothing else. What is in neither list is unknown.
std::vector<Made> matched(const ApiResult<json::object>& answer, std::size_t items) {
  ApiError initial{ApiError::unknown, 0, "the answer does not mention it"};
  if (!answer) initial = answer.error();
  std::vector<Made> out(items, Made{{}, initial});
  if (!answer) return out;
  const auto each = [&](const char* list, const auto& take) {
    const auto* v = at(*answer, list);
    if (v == nullptr || !v->is_array()) return;
    for (const auto& x : v->as_array()) {
      if (!x.is_object()) continue;
      const auto i = number(at(x.as_object(), "inputIndex"));
      if (i && *i >= 0 && static_cast<std::size_t>(*i) < items) take(out[static_cast<std::size_t>(*i)], x.as_object());
    }
  };
  each("result", [](Made& m, const json::object& o) { m.id = word(at(o, "id")); });
  each("errors", [](Made& m, const json::object& o) {
    m.id.clear();
    m.error.kind = ApiError::refused;
    m.error.code = static_cast<int>(number(at(o, "code")).value_or(0));
    m.error.text =
        fmt::format("{} (error {})", fill_in(word(at(o, "message")), at(o, "messageParameters")), m.error.code);
  });
  return out;
}

}  // namespace

asio::awaitable<Server> Admin::server() {
  Server s;
  const json::object none;
  const auto version = co_await api_.ask(Call::server_get_version, none);
  s.version = base::printable(word(at(version, "product")) + " " + word(at(version, "version")));
  const auto product = co_await api_.ask(Call::server_get_product_info, none);
  s.windows = base::lower(word(path(product, "info.osName")) + word(path(product, "info.os"))).find("windows") !=
              std::string::npos;
  const auto services = co_await api_.ask(Call::services_get, none);
  if (const auto* list = at(services, "services"); list != nullptr && list->is_array())
    for (const auto& v : list->as_array()) {
      if (!v.is_object()) continue;
      const auto& o = v.as_object();
      const std::string name = word(at(o, "name"));
      if ((name != "IMAP" && name != "Secure IMAP") || !yes(at(o, "isRunning"))) continue;
      auto port = number(at(o, "defaultPort")).value_or(name == "IMAP" ? 143 : 993);
      if (const auto* listeners = at(o, "listeners"); listeners != nullptr && listeners->is_array() &&
                                                      !listeners->as_array().empty() &&
                                                      listeners->as_array().front().is_object())
        port = number(at(listeners->as_array().front().as_object(), "port")).value_or(port);
      if (port > 0 && port < 65536) (name == "IMAP" ? s.imap_port : s.imaps_port) = static_cast<std::uint16_t>(port);
    }
  const auto security = co_await api_.ask(Call::security_policy_get, none);
  if (yes(path(security, "options.antiHammering.isEnabled")))
    s.refusals_to_block =
        static_cast<int>(number(path(security, "options.antiHammering.failedLoginsToBlock")).value_or(0));
  const auto advanced = co_await api_.ask(Call::advanced_options_get, none);
  s.master_authentication = yes(path(advanced, "options.masterAuthentication.isEnabled"));
  s.watchdog_stops_below = octets(path(advanced, "options.storeDirectory.watchdogHardLimit")).value_or(0);
  const auto statistics = co_await api_.ask(Call::statistics_get, none);
  const auto total = octets(path(statistics, "statistics.storage.total")),
             occupied = octets(path(statistics, "statistics.storage.occupied"));
  if (total && occupied && *total > 0) s.disk_free = *total > *occupied ? *total - *occupied : 0;
  const auto about = co_await api_.ask(Call::server_get_about_info, none);
  const auto current = number(path(about, "aboutInformation.currentUsers"));
  // A number, or a structure as in Domains.getUserCountInfo.
  auto allowed = number(path(about, "aboutInformation.allowedUsers"));
  if (!allowed && !yes(path(about, "aboutInformation.allowedUsers.isUnlimited")))
    allowed = number(path(about, "aboutInformation.allowedUsers.allowedUsers"));
  // Negative: unlimited (ProductRegistration says -2).
  if (current && allowed && *allowed >= 0)
    s.licence_left = static_cast<std::uint64_t>(std::max<std::int64_t>(0, *allowed - *current));
  co_return s;
}

asio::awaitable<std::vector<TargetDomain>> Admin::domains() {
  std::vector<std::string> fields;
  for (const char* f :
       {"id", "name", "description", "isPrimary", "aliasList", "passwordComplexityEnabled", "passwordMinimumLength",
        "userMaxCount", "autoDelete", "deletedItems", "junkEmail", "sentItems", "domainQuota"})
    fields.emplace_back(f);
  const auto rows = co_await api_.list(Call::domains_get, fields, {});
  std::vector<TargetDomain> out;
  for (const auto& v : rows) {
    const auto& o = v.as_object();
    TargetDomain d;
    d.id = word(at(o, "id"));
    d.name = base::lower(word(at(o, "name")));
    d.description = word(at(o, "description"));
    d.primary = yes(at(o, "isPrimary"));
    d.aliases = words(at(o, "aliasList"));
    d.policy.complex = yes(at(o, "passwordComplexityEnabled"));
    d.policy.minimum = static_cast<int>(number(at(o, "passwordMinimumLength")).value_or(0));
    d.user_max = static_cast<int>(number(at(o, "userMaxCount")).value_or(-1));
    add_clean_out(o, d.hazards);
    if (yes(path(o, "domainQuota.blocks"))) d.hazards.push_back("the domain's quota refuses mail when it is reached");
    out.push_back(std::move(d));
  }
  co_return out;
}

asio::awaitable<std::vector<TargetUser>> Admin::users(std::string domain_id) {
  std::vector<std::string> fields;
  for (const char* f : {"id", "loginName", "description", "isEnabled", "itemLimit", "diskSizeLimit", "cleanOutItems"})
    fields.emplace_back(f);
  const auto rows = co_await api_.list(Call::users_get, fields, domain_id);
  std::vector<TargetUser> out;
  for (const auto& v : rows) {
    const auto& o = v.as_object();
    TargetUser u;
    u.id = word(at(o, "id"));
    u.login = base::lower(word(at(o, "loginName")));
    u.description = word(at(o, "description"));
    u.enabled = at(o, "isEnabled") == nullptr || yes(at(o, "isEnabled"));
    if (yes(path(o, "itemLimit.isActive")))
      u.hazards.push_back(fmt::format("at most {} items", number(path(o, "itemLimit.limit")).value_or(0)));
    if (yes(path(o, "diskSizeLimit.isActive")))
      u.hazards.push_back("at most " + base::human_octets(octets(path(o, "diskSizeLimit.limit")).value_or(0)));
    if (const auto* own = at(o, "cleanOutItems");
        own != nullptr && own->is_object() && !yes(at(own->as_object(), "isUsedDomain")))
      add_clean_out(own->as_object(), u.hazards);
    out.push_back(std::move(u));
  }
  co_return out;
}

asio::awaitable<std::vector<Collision>> Admin::collisions(std::string domain_id, std::vector<std::string> local_parts) {
  std::vector<Collision> out;
  constexpr std::size_t kAtOnce = 50;
  for (std::size_t from = 0; from < local_parts.size(); from += kAtOnce) {
    json::array addresses;
    for (std::size_t i = from; i < std::min(local_parts.size(), from + kAtOnce); ++i)
      addresses.emplace_back(text_of(local_parts[i]));
    json::object entity, params;
    entity["kind"] = "EntityUser";
    entity["id"] = "";
    params["addresses"] = std::move(addresses);
    params["updatedEntity"] = std::move(entity);
    params["domainId"] = text_of(domain_id);
    const auto answer = co_await api_.ask(Call::server_find_entity_by_email, std::move(params));
    const auto* list = at(answer, "entities");
    if (list == nullptr || !list->is_array()) continue;
    for (const auto& v : list->as_array())
      if (v.is_object())
        out.push_back({base::lower(word(at(v.as_object(), "collisionAddress"))), word(at(v.as_object(), "kind")),
                       word(at(v.as_object(), "name"))});
  }
  co_return out;
}

asio::awaitable<std::vector<std::string>> Admin::delivered_to(std::string address) {
  json::object params;
  params["checkString"] = text_of(address);
  const auto answer = co_await api_.ask(Call::aliases_check, std::move(params));
  co_return words(at(answer, "result"));
}

asio::awaitable<std::vector<Connection>> Admin::imap_connections(std::string address) {
  std::vector<std::string> fields;
  for (const char* f : {"proto", "user", "from", "time"}) fields.emplace_back(f);
  const auto rows = co_await api_.list(Call::server_get_connections, fields, {});
  std::vector<Connection> out;
  for (const auto& v : rows) {
    const auto& o = v.as_object();
    // Whether an account of the primary domain is shown without it is not known: both are taken.
    const std::string user = base::lower(word(at(o, "user")));
    if (!base::lower(word(at(o, "proto"))).starts_with("protocolimap") ||
        (user != base::lower(address) && user != base::lower(address.substr(0, address.rfind('@')))))
      continue;
    Connection c;
    c.host = word(at(o, "from"));
    // "192.0.2.7:40312", "[2001:db8::7]:40312"; an address of version 6 alone has more than one colon.
    if (const auto end = c.host.rfind(']'); end != std::string::npos) c.host.resize(end + 1);
    else if (c.host.find(':') == c.host.rfind(':')) c.host.resize(std::min(c.host.size(), c.host.find(':')));
    c.age = std::chrono::seconds(number(at(o, "time")).value_or(0));
    out.push_back(std::move(c));
  }
  co_return out;
}

std::size_t from_our_host(const std::vector<Connection>& connections) {
  const auto younger = [](const Connection& a, const Connection& b) { return a.age < b.age; };
  const auto youngest = std::min_element(connections.begin(), connections.end(), younger);
  return static_cast<std::size_t>(std::count_if(connections.begin(), connections.end(), [&](const Connection& c) {
    return std::any_of(connections.begin(), connections.end(),
                       [&](const Connection& x) { return x.age == youngest->age && x.host == c.host; });
  }));
}

asio::awaitable<std::vector<Made>> Admin::create_domains(
    std::vector<std::pair<std::string, std::string>> name_and_description) {
  json::array domains;
  for (const auto& [name, description] : name_and_description) {
    json::object d;
    d["name"] = text_of(name);
    d["description"] = text_of(description);
    domains.push_back(std::move(d));
  }
  json::object params;
  params["domains"] = std::move(domains);
  const auto answer = co_await api_.call(Call::domains_create, std::move(params));
  co_return matched(answer, name_and_description.size());
}

asio::awaitable<std::vector<Made>> Admin::create_users(std::string domain_id, std::vector<NewUser> users) {
  json::array list;
  for (const auto& u : users) {
    json::object o, role;
    role["userRole"] = "UserRole";
    role["publicFolderRight"] = false;
    role["archiveFolderRight"] = false;
    o["domainId"] = text_of(domain_id);
    o["loginName"] = text_of(u.login);
    o["fullName"] = text_of(u.full_name);
    o["description"] = text_of(u.description);
    o["password"] = text_of(u.password.reveal());
    o["isEnabled"] = true;
    o["itemSource"] = "DSInternalSource";
    o["authType"] = "UInternalAuth";
    o["role"] = std::move(role);
    o["hasDefaultSpamRule"] = true;
    list.push_back(std::move(o));
  }
  json::object params;
  params["users"] = std::move(list);
  const auto answer = co_await api_.call(Call::users_create, std::move(params));
  auto made = matched(answer, users.size());
  // Some servers repeat what they refuse; it must not get into a log, the state or a report (S23).
  for (auto& m : made)
    for (const auto& u : users)
      for (const std::string& form : {std::string(u.password.reveal()), base::printable(u.password.reveal())})
        m.error.text = base::masked(std::move(m.error.text), form);
  co_return made;
}

asio::awaitable<std::optional<ApiError>> Admin::set_aliases(std::string domain_id, std::vector<std::string> aliases) {
  json::array ids, list;
  ids.emplace_back(text_of(domain_id));
  for (const auto& a : aliases) list.emplace_back(text_of(a));
  json::object pattern, params;
  pattern["aliasList"] = std::move(list);
  params["domainIds"] = std::move(ids);
  params["pattern"] = std::move(pattern);
  const auto answer = co_await api_.call(Call::domains_set, std::move(params));
  if (!answer) co_return answer.error();
  // set names only what failed.
  auto made = matched(answer, 1);
  if (made.front().error.kind == ApiError::refused) co_return made.front().error;
  co_return std::nullopt;
}

asio::awaitable<base::Secret> Admin::generate_password(std::string domain_id) {
  json::object params;
  params["domainId"] = text_of(domain_id);
  const auto answer = co_await api_.ask(Call::domains_generate_password, std::move(params));
  co_return base::Secret(word(at(answer, "password")));
}

namespace {
constexpr std::string_view kMark = "4d2kms:";
}

std::string mark_of(const std::string& source_address) {
  const auto print = base::fingerprint("4d2kms mark\n" + base::lower(source_address));
  return std::string(kMark) + base::hex({reinterpret_cast<const char*>(print.e1.data()), 8});
}

bool is_marked(const std::string& description, const std::string& source_address) {
  return base::trim(description).ends_with(mark_of(source_address));
}

bool is_marked_for_another(const std::string& description, const std::string& source_address) {
  return description.find(kMark) != std::string::npos && !is_marked(description, source_address);
}

std::string with_mark(const std::string& description, const std::string& source_address) {
  return (description.empty() ? "" : description + " ") + mark_of(source_address);
}

std::string password_problem(const PasswordPolicy& policy, std::string_view password, const std::string& login,
                             const std::string& domain, const std::string& full_name) {
  if (!policy.complex) return {};
  if (static_cast<int>(password.size()) < policy.minimum)
    return fmt::format("shorter than {} characters", policy.minimum);
  bool small = false, big = false, digit = false, other = false;
  for (const char c : password) {
    if (c >= 'a' && c <= 'z') small = true;
    else if (c >= 'A' && c <= 'Z') big = true;
    else if (c >= '0' && c <= '9') digit = true;
    else other = true;
  }
  if (small + big + digit + other < 3)
    return "fewer than three of: small letters, capital letters, digits, other characters";
  const std::string p = base::lower(password);
  const auto inside = [&](const std::string& s) { return !s.empty() && p.find(base::lower(s)) != std::string::npos; };
  if (inside(login)) return "it holds the user's name";
  if (inside(domain)) return "it holds the domain's name";
  for (const auto& part : base::split(full_name, ' '))
    if (part.size() > 2 && inside(part)) return "it holds a part of the full name";
  return {};
}

}  // namespace load::kerio
