#include "pipeline/wizard/pages.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <map>

#include "base/text.hpp"
#include "extract/config/mapping.hpp"
#include "pipeline/wizard/texts.hpp"

namespace pipeline::wizard {

namespace json = boost::json;

std::string option(const Options& options, std::string_view name) {
  for (const auto& [key, value] : options)
    if (key == name) return value;
  return {};
}

std::vector<std::string> option_list(const Options& options, std::string_view name) {
  std::vector<std::string> out;
  for (const auto& [key, value] : options)
    if (key == name) out.push_back(value);
  return out;
}

namespace {

std::string h(std::string_view text) { return base::html(text); }  // of people and servers

// Several lines: each of them.
std::string h_lines(std::string_view text) {
  std::string out;
  for (auto& line : base::split(text, '\n')) {
    std::replace(line.begin(), line.end(), '\t', ' ');
    out += (out.empty() ? "" : "\n") + h(line);
  }
  return out;
}

// An address may be broken behind its @, and on a narrow page nowhere else if that is enough.
std::string address(std::string_view text) {
  std::string out = h(text);
  if (const auto at = out.rfind('@'); at != std::string::npos) out.insert(at + 1, "<wbr>");
  return out;
}

// The words of one language; {1}, {2} ... are filled in, escaped.
struct Words {
  std::string language;
  std::string operator()(std::string_view key, const std::vector<std::string>& values = {}) const {
    std::string out = h(text_of(language, key));
    for (std::size_t i = 0; i < values.size(); ++i) {
      const auto place = fmt::format("{{{}}}", i + 1);
      if (const auto at = out.find(place); at != std::string::npos) out.replace(at, place.size(), h(values[i]));
    }
    return out;
  }
  std::string count(std::uint64_t n) const {
    const std::string separator = language == "de" ? "." : language == "cs" ? "\u00a0" : ",";
    std::string out;
    for (const char c : base::human_count(n)) out += c == ',' ? separator : std::string(1, c);
    return out;
  }
};

std::uint64_t number(const json::object& o, std::string_view key) {
  const auto* v = o.if_contains(key);
  if (v == nullptr || !v->is_number()) return 0;
  boost::system::error_code ec;
  const auto n = v->to_number<std::uint64_t>(ec);
  return ec ? 0 : n;
}
std::string word(const json::object& o, std::string_view key) {
  const auto* v = o.if_contains(key);
  return v == nullptr || !v->is_string() ? std::string() : std::string(v->as_string());
}
bool truth(const json::object& o, std::string_view key) {
  const auto* v = o.if_contains(key);
  return v != nullptr && v->is_bool() && v->as_bool();
}
const json::array& list(const json::object& o, std::string_view key) {
  static const json::array kNone;
  const auto* v = o.if_contains(key);
  return v == nullptr || !v->is_array() ? kNone : v->as_array();
}
const json::object& object(const json::object& o, std::string_view key) {
  static const json::object kNone;
  const auto* v = o.if_contains(key);
  return v == nullptr || !v->is_object() ? kNone : v->as_object();
}

std::string field(const Words& w, std::string_view name, std::string_view key, std::string_view value,
                  std::string_view type = "text", std::string_view more = {}) {
  const auto hint = std::string(key) + ".hint";
  const bool has_hint = text_of(w.language, hint) != hint;
  return fmt::format(
      "<div class=field><label for=\"{0}\">{1}</label><input id=\"{0}\" name=\"{0}\" type=\"{2}\" "
      "value=\"{3}\" autocomplete=off spellcheck=false{4}{5}>{6}</div>",
      name, w(key), type, h(value), more.empty() ? "" : " " + std::string(more),
      has_hint ? fmt::format(" aria-describedby=\"{}-hint\"", name) : "",
      has_hint ? fmt::format("<p class=hint id=\"{}-hint\">{}</p>", name, w(hint)) : "");
}

// A file or folder: typed, or chosen below the root.
std::string file_field(const Words& w, std::string_view name, std::string_view key, std::string_view value,
                       bool folder) {
  return fmt::format(
      "<div class=\"field file\">{}<button type=button class=quiet data-choose=\"{}\" data-folder=\"{}\">"
      "{}</button><div class=chooser hidden></div></div>",
      field(w, name, key, value), name, folder ? 1 : 0, w("choose"));
}

std::string choice(const Words& w, std::string_view name, std::string_view key,
                   const std::vector<std::pair<std::string, std::string>>& values, std::string_view now) {
  std::string out =
      fmt::format("<div class=field><label for=\"{0}\">{1}</label><select id=\"{0}\" name=\"{0}\">", name, w(key));
  for (const auto& [value, text] : values)
    out += fmt::format("<option value=\"{}\"{}>{}</option>", h(value), value == now ? " selected" : "", w(text));
  return out + "</select></div>";
}

std::string checkbox(const Words& w, std::string_view name, std::string_view key, bool now) {
  return fmt::format(
      "<div class=\"field check\"><input type=checkbox id=\"{0}\" name=\"{0}\" value=true{2}>"
      "<label for=\"{0}\">{1}</label></div>",
      name, w(key), now ? " checked" : "");
}

std::string form(std::string_view post, const std::string& inside, const std::string& buttons) {
  return fmt::format(
      "<form data-post=\"{}\" novalidate>{}<div class=answer tabindex=-1 role=status></div>"
      "<div class=buttons>{}</div></form>",
      post, inside, buttons);
}
std::string submit(const Words& w, std::string_view key) {
  return fmt::format("<button type=submit class=primary>{}</button>", w(key));
}
// A button that asks for something by itself.
std::string button(const Words& w, std::string_view key, std::string_view post, std::string_view body,
                   std::string_view kind = "primary") {
  return fmt::format("<button type=button class=\"{}\" data-post=\"{}\" data-body='{}'>{}</button>", kind, post, body,
                     w(key));
}
std::string back(const Words& w, std::string_view path) {
  return fmt::format("<a class=\"button quiet\" href=\"{}\">{}</a>", path, w("back"));
}
// The migration's own words: English, whatever the page is in.
std::string english(const Words& w, const std::string& inside, std::string_view element = "span",
                    std::string_view more = {}) {
  return fmt::format("<{0}{1}{2}>{3}</{0}>", element, w.language == "en" ? "" : " lang=en",
                     more.empty() ? "" : " " + std::string(more), inside);
}
std::string notice(std::string_view kind, const std::string& inside) {
  return fmt::format("<div class=\"notice {}\">{}</div>", kind, inside);
}
std::string fact(const std::string& name, const std::string& value) {
  return fmt::format("<div><dt>{}</dt><dd>{}</dd></div>", name, value);
}

std::string layout(const Frame& f, std::string_view step, const std::string& title, const std::string& main) {
  const Words w{f.language};
  const Steps& s = f.steps;
  struct Item {
    const char *path, *key;
    bool open, done;
  };
  const bool ready = s.configuration && s.source && s.target;
  const Item items[] = {{"/introduction", "step.introduction", true, true},
                        {"/configuration", "step.configuration", true, s.configuration},
                        {"/source", "step.source", s.configuration, s.source},
                        {"/target", "step.target", s.configuration && s.source, s.target},
                        {"/summary", "step.summary", ready, s.plan},
                        {"/progress", "step.progress", s.running || s.plan, s.results},
                        {"/results", "step.results", s.results, s.results}};
  std::string nav;
  int n = 0;
  for (const auto& i : items) {
    const bool here = std::string_view(i.path).substr(1) == step;
    const auto kind = here ? "here" : i.open && i.done ? "done" : "";
    const auto name = fmt::format("{}.<span class=name> {}</span>", ++n, w(i.key));
    const auto* current = here ? " aria-current=step" : "";
    const auto inside = i.open ? fmt::format("<a href=\"{}\"{}>{}</a>", i.path, current, name)
                               : fmt::format("<span{}>{}</span>", current, name);
    nav += fmt::format("<li class=\"{}\">{}</li>", kind, inside);
  }
  std::string languages_list;
  for (const auto& [code, name] : languages())
    languages_list +=
        fmt::format("<option value={0} lang={0}{1}>{2}</option>", code, code == f.language ? " selected" : "", name);
  return fmt::format(
      "<!doctype html><html lang={}><head><meta charset=utf-8><meta name=viewport content=\"width=device-width\">"
      "<meta name=color-scheme content=\"light dark\"><meta name=page-token content=\"{}\"><title>{} - 4d2kms</title>"
      "<link rel=icon href=\"/assets/icon.svg\"><link rel=stylesheet href=\"/assets/wizard.css\">"
      "<script src=\"/assets/wizard.js\" defer></script></head>"
      "<body data-lost=\"{}\"><a class=skip href=\"#main\">{}</a><header><p class=brand>4d2kms</p>"
      "<form class=language><label for=language>{}</label><select id=language name=lang>{}</select></form></header>"
      "<nav aria-label=\"{}\"><ol>{}</ol></nav><main id=main tabindex=-1><h1>{}</h1>{}</main>"
      "<div id=say class=unseen role=status aria-live=polite></div></body></html>",
      f.language, f.token, title, w("lost"), w("skip"), w("language"), languages_list, w("steps"), nav, title, main);
}

std::string table_head(const Words& w, const std::vector<const char*>& keys) {
  std::string out = "<thead><tr>";
  for (const auto* k : keys) {
    const bool right = k[0] == '>';
    out += fmt::format("<th scope=col{}>{}</th>", right ? " class=number" : "", w(right ? k + 1 : k));
  }
  return out + "</tr></thead>";
}

// The list, its filter and its pages; wizard.js fetches `path` anew.
std::string account_table(const Words& w, std::string_view path, const std::string& lines, bool refreshed) {
  return fmt::format(
      "<section class=accounts data-lines=\"{0}\" data-refresh=\"{1}\">"
      "<h2>{2}</h2><div class=\"field filter\"><label for=filter>{3}</label>"
      "<input id=filter type=search autocomplete=off spellcheck=false></div>"
      "<div class=lines>{4}</div></section>",
      path, refreshed ? 1 : 0, w("accounts"), w("filter"), lines);
}

std::string pager(const Words& w, const Pageful& p) {
  const std::size_t pages = (p.total + kLinesOnAPage - 1) / kLinesOnAPage;
  const std::size_t first = p.total == 0 ? 0 : p.page * kLinesOnAPage + 1;
  std::string out = fmt::format(
      "<div class=pager><span>{}</span>",
      w("pager", {w.count(first), w.count(std::min(p.total, (p.page + 1) * kLinesOnAPage)), w.count(p.total)}));
  const auto turn = [&](std::string_view key, bool can, std::size_t to) {
    out +=
        fmt::format("<button type=button class=quiet data-page={}{}>{}</button>", to, can ? "" : " disabled", w(key));
  };
  if (pages > 1) {
    turn("previous", p.page > 0, p.page - (p.page > 0));
    turn("next", p.page + 1 < pages, p.page + 1);
  }
  return out + "</div>";
}

std::string duration(std::uint64_t seconds) { return base::human_duration(std::chrono::seconds(seconds)); }

const std::vector<std::pair<std::string, std::string>> kTlsChoices = {
    {"tls", "tls.tls"}, {"starttls", "tls.starttls"}, {"none", "tls.none"}};

}  // namespace

std::string introduction_page(const Frame& f, const std::string& state) {
  const Words w{f.language};
  std::string needs;
  for (const auto* key : {"intro.need.configuration", "intro.need.source", "intro.need.target"})
    needs += fmt::format("<li>{}</li>", w(key));
  const auto next = f.steps.configuration && f.steps.skip_configuration ? "/source" : "/configuration";
  return layout(f, "introduction", w("intro.title"),
                fmt::format("<p class=lead>{}</p><p>{}</p><h2>{}</h2><ul>{}</ul><h2>{}</h2><p>{}</p><p>{}</p>"
                            "<div class=buttons><a class=\"button primary\" href=\"{}\">{}</a></div>",
                            w("intro.lead"), w("intro.what"), w("intro.needs"), needs, w("intro.safe"),
                            w("intro.safe.text"), w("intro.state", {state}), next, w("continue")));
}

std::string configuration_page(const Frame& f, const ConfigurationView& v) {
  const Words w{f.language};
  std::string out = fmt::format("<p class=lead>{}</p>", w("config.lead"));
  if (v.lost_upload) out += notice("warn", w("config.lost_upload"));
  if (!v.error.empty())
    out += notice("bad", fmt::format("<p>{}</p>{}<p>{}</p>", w("config.error"), english(w, h(v.error), "p"),
                                     w("config.error.help")));
  if (!v.summary.empty())
    out += notice("good", fmt::format("<p>{}</p><details open><summary>{}</summary>{}</details>", w("config.read"),
                                      w("config.details"), english(w, h_lines(v.summary), "pre", "tabindex=0")));
  if (!v.tree.empty())
    out += fmt::format("<details open><summary>{}</summary><p>{}</p>{}</details>", w("config.tree"),
                       w("config.tree.help"), english(w, h_lines(v.tree), "pre", "tabindex=0"));
  const auto mapping = fmt::format(
      "<details{}><summary>{}</summary><div class=field><label for=mapping>{}</label>"
      "<textarea id=mapping name=mapping rows=12 spellcheck=false aria-describedby=mapping-hint>{}</textarea>"
      "<p class=hint id=mapping-hint>{}</p></div></details>",
      v.tree.empty() && v.mapping.empty() ? "" : " open", w("config.mapping"), w("config.mapping.label"),
      h_lines(v.mapping.empty() && !v.tree.empty() ? extract::default_mapping_json() : v.mapping),
      w("config.mapping.hint"));
  const auto upload = fmt::format(
      "<div class=field><label for=upload>{}</label><input id=upload type=file accept=\".csv,.txt\" "
      "data-upload=roster_upload aria-describedby=upload-hint><p class=hint id=upload-hint>{}</p></div>",
      w("config.upload"), v.roster_name.empty() ? w("config.upload.hint") : w("config.uploaded", {v.roster_name}));
  out +=
      form("/api/configuration",
           fmt::format(
               "<fieldset><legend>{}</legend>{}{}</fieldset><fieldset><legend>{}</legend><p class=hint>{}</p>{}{}{}"
               "</fieldset>",
               w("config.fourd"), file_field(w, "source-path", "config.path", option(v.options, "source-path"), true),
               mapping, w("config.roster"), w("config.roster.help"),
               file_field(w, "roster", "config.roster.file",
                          v.roster_name.empty() ? option(v.options, "roster") : std::string(), false),
               upload, file_field(w, "domains", "config.domains", option(v.options, "domains"), false)),
           back(w, "/introduction") + submit(w, "config.submit"));
  return layout(f, "configuration", w("config.title"), out);
}

std::string source_page(const Frame& f, const Options& options, std::uint16_t configured_port, std::size_t post_offices,
                        std::size_t accounts) {
  const Words w{f.language};
  const auto host = option(options, "source-host").empty() ? "localhost" : option(options, "source-host");
  auto tls = option(options, "source-tls");
  if (tls.empty()) tls = base::is_loopback(host) ? "none" : "starttls";
  auto port = option(options, "source-port");
  if (port.empty() && configured_port != 0) port = std::to_string(configured_port);
  return layout(
      f, "source", w("source.title"),
      fmt::format("<p class=lead>{}</p>", w("source.lead")) +
          notice("good",
                 fmt::format("<p>{} {} <a href=\"/configuration\">{}</a></p>", w("config.read"),
                             w("config.line", {w.count(post_offices), w.count(accounts)}), w("config.details"))) +
          form("/api/source",
               field(w, "source-host", "host", host) +
                   field(w, "source-port", "source.port", port, "text", "inputmode=numeric") +
                   choice(w, "source-tls", "tls", kTlsChoices, tls) +
                   checkbox(w, "allow-cleartext", "cleartext", option(options, "allow-cleartext") == "true") +
                   fmt::format("<details><summary>{}</summary>{}</details>", w("more"),
                               field(w, "source-login", "source.login", option(options, "source-login"))) +
                   fmt::format(
                       "<details class=help><summary>{}</summary><ul><li>{}</li><li>{}</li><li>{}</li></ul></details>",
                       w("source.check"), w("source.check.runs"), w("source.check.port"), w("source.check.firewall")),
               back(w, "/configuration") + submit(w, "test")));
}

std::string target_page(const Frame& f, const Options& options, bool has_password) {
  const Words w{f.language};
  const auto kind = option(options, "target").empty() ? "kerio" : option(options, "target");
  const auto host = option(options, "target-host").empty() ? "localhost" : option(options, "target-host");
  const auto tls = option(options, "target-tls").empty() ? "tls" : option(options, "target-tls");
  const auto kinds = fmt::format(
      "<fieldset class=kinds><legend>{}</legend><label><input type=radio name=target value=kerio{}> {}</label>"
      "<label><input type=radio name=target value=imap{}> {}</label></fieldset>",
      w("target.kind"), kind == "kerio" ? " checked" : "", w("target.kerio"), kind == "imap" ? " checked" : "",
      w("target.imap"));
  return layout(
      f, "target", w("target.title"),
      fmt::format("<p class=lead>{}</p>", w("target.lead")) +
          form("/api/target",
               kinds + field(w, "target-host", "host", host) +
                   fmt::format(
                       "<div data-when=kerio>{}{}{}</div>",
                       field(w, "target-user", "target.user", option(options, "target-user")),
                       field(w, "password", has_password ? "target.password.known" : "target.password", "", "password"),
                       field(w, "target-api-port", "target.api_port",
                             option(options, "target-api-port").empty() ? "4040" : option(options, "target-api-port"),
                             "text", "inputmode=numeric")) +
                   field(w, "target-imap-port", "target.imap_port", option(options, "target-imap-port"), "text",
                         "inputmode=numeric") +
                   choice(w, "target-tls", "tls", kTlsChoices, tls) +
                   checkbox(w, "allow-cleartext", "cleartext", option(options, "allow-cleartext") == "true") +
                   fmt::format(
                       "<div data-when=imap>{}</div>",
                       field(w, "target-login", "target.login",
                             option(options, "target-login").empty() ? "%u@%d" : option(options, "target-login"))) +
                   fmt::format(
                       "<details class=help><summary>{}</summary><ul><li>{}</li><li>{}</li><li>{}</li></ul></details>",
                       w("target.check"), w("target.check.runs"), w("target.check.ports"), w("target.check.guard")),
               back(w, "/source") + submit(w, "test")));
}

std::string check_answer(const std::string& language, const Check& c, bool target) {
  const Words w{language};
  if (c.failed.empty()) return notice("good", fmt::format("<p>{}</p>", w("check.good")));
  if (!c.certificate.empty())
    return notice(
        c.changed ? "bad" : "warn",
        fmt::format("<h2>{}</h2><p>{}</p><p class=fingerprint><code>{}</code></p><p>{}</p>"
                    "<div class=\"field check\"><input type=checkbox id=pin name=pin value=\"{}\">"
                    "<label for=pin>{}</label></div><details><summary>{}</summary>{}</details>",
                    w("certificate.title"), w(c.changed ? "certificate.changed" : "certificate.text", {c.where}),
                    h(c.certificate), w("certificate.compare"), h(c.certificate), w("certificate.confirm"), w("words"),
                    english(w, h(c.failed), "p")));
  return notice("bad", fmt::format("<h2>{}</h2>{}<p>{}</p>", w("check.failed"), english(w, h(c.failed), "p"),
                                   w(c.log_in_refused ? "check.refused"
                                     : target         ? "check.target.help"
                                                      : "check.source.help")));
}

std::string problem(const std::string& language, const std::string& text, bool in_english) {
  const Words w{language};
  return notice(in_english ? "bad" : "warn", in_english ? english(w, h(text), "p") : fmt::format("<p>{}</p>", h(text)));
}

// ---- summary ----

namespace {
constexpr std::size_t kNamed = 2;      // of the accounts that have a remark; of more their number is told
constexpr std::size_t kRemarks = 100;  // on the page
}  // namespace

json::object digest_of(const json::object& plan) {
  std::uint64_t create = 0;
  json::array remarks;
  std::map<std::string, std::size_t, std::less<>> known;  // where each remark stands
  const auto add = [&](const json::value& text, const json::value* account) {
    const auto [it, fresh] = known.emplace(text.as_string(), known.size());
    if (it->second >= kRemarks) return;
    if (fresh) remarks.push_back({{"text", text}, {"accounts", json::array()}, {"count", std::uint64_t{0}}});
    auto& r = remarks[it->second].as_object();
    if (account == nullptr) return;
    r["count"] = number(r, "count") + 1;
    if (auto& named = r["accounts"].as_array(); named.size() < kNamed) named.push_back(*account);
  };
  for (const auto& r : list(plan, "remarks")) add(r, nullptr);
  for (const auto& a : list(plan, "accounts")) {
    const auto& o = a.as_object();
    create += word(o, "on_target") == "create" && word(o, "decision") == "move";
    for (const auto& r : list(o, "remarks")) add(r, &o.at("account"));
  }
  json::object out{{"totals", object(plan, "totals")},
                   {"domains", list(plan, "domains")},
                   {"create", create},
                   {"remarks", std::move(remarks)},
                   {"remark_count", known.size()}};
  return out;
}

namespace {

std::string plan_facts(const Words& w, const SummaryView& v) {
  const auto& t = object(v.plan, "totals");
  std::string out = "<dl class=facts>" + fact(w("plan.accounts"), w.count(number(t, "accounts_to_move")));
  if (const auto n = number(v.plan, "create"); n > 0) out += fact(w("plan.create"), w.count(n));
  out += fact(w("plan.skip"), w.count(number(t, "accounts_to_skip"))) +
         fact(w("plan.messages"), w.count(number(t, "messages_to_move"))) +
         fact(w("plan.size"), h(base::human_octets(number(t, "octets_to_move")))) + "</dl>";
  return out;
}

std::string plan_domains(const Words& w, const json::object& plan) {
  std::string rows;
  for (const auto& d : list(plan, "domains")) {
    const auto& o = d.as_object();
    std::string aliases, notes;
    for (const auto& a : list(o, "aliases")) aliases += (aliases.empty() ? "" : ", ") + h(a.as_string());
    if (!word(o, "reason").empty()) notes += english(w, h(word(o, "reason")), "p");
    for (const auto& a : list(o, "aliases_left_out"))
      notes += english(w, h(word(a.as_object(), "alias") + ": " + word(a.as_object(), "why")), "p");
    for (const auto& r : list(o, "remarks")) notes += english(w, h(r.as_string()), "p");
    rows += fmt::format("<tr><th scope=row>{}</th><td>{}</td><td>{}</td><td>{}{}</td></tr>", h(word(o, "post_office")),
                        h(word(o, "domain")), aliases, w("decision." + word(o, "decision")), notes);
  }
  if (rows.empty()) return {};
  return fmt::format(
      "<h2>{}</h2><div class=scroll tabindex=0 role=region aria-label=\"{}\"><table>{}<tbody>{}</tbody></table></div>",
      w("plan.domains"), w("plan.domains"),
      table_head(w, {"plan.post_office", "plan.domain", "plan.aliases", "plan.decision"}), rows);
}

std::string plan_remarks(const Words& w, const json::object& plan) {
  std::string out;
  for (const auto& r : list(plan, "remarks")) {
    const auto& o = r.as_object();
    std::string who;
    for (const auto& a : list(o, "accounts")) who += (who.empty() ? "" : ", ") + h(a.as_string());
    if (const auto n = number(o, "count"); n > kNamed) who = w("plan.in_accounts", {w.count(n)});
    out += fmt::format("<li>{}{}</li>", who.empty() ? "" : who + ": ", english(w, h(word(o, "text"))));
  }
  if (out.empty()) return {};
  // Open: a guard against log-ins, say, is to be known before Start is pressed.
  return fmt::format("<details open><summary>{}</summary><ul>{}</ul></details>",
                     w("plan.remarks", {w.count(number(plan, "remark_count"))}), out);
}

std::string policies_form(const Words& w, const SummaryView& v) {
  const Options& o = v.options;
  const bool kerio = option(o, "target") != "imap";
  const std::vector<std::pair<std::string, std::string>> kSkipAdopt = {{"skip", "policy.skip"},
                                                                       {"adopt", "policy.adopt"}};
  const auto first = [&](std::string_view name, const char* otherwise) {
    const auto value = option(o, name);
    return value.empty() ? std::string(otherwise) : value;
  };
  std::string inside;
  if (kerio)
    inside += choice(w, "existing-domain", "policy.domain", kSkipAdopt, first("existing-domain", "skip")) +
              choice(w, "existing-account", "policy.account", kSkipAdopt, first("existing-account", "skip")) +
              choice(w, "on-refused-password", "policy.password",
                     {{"skip", "policy.skip_account"}, {"generate", "policy.generate"}},
                     first("on-refused-password", "skip"));
  inside +=
      choice(w, "deleted", "policy.deleted",
             {{"keep", "policy.keep"}, {"unmark", "policy.unmark"}, {"skip", "policy.leave"}},
             first("deleted", kerio ? "unmark" : "keep")) +
      choice(w, "verify", "policy.verify",
             {{"full", "verify.full"}, {"sample", "verify.sample"}, {"quick", "verify.quick"}, {"none", "verify.none"}},
             first("verify", "full"));
  inside += fmt::format(
      "<div class=field><label for=only>{0}</label><textarea id=only name=only rows=3 spellcheck=false "
      "aria-describedby=only-hint>{1}</textarea><p class=hint id=only-hint>{2}</p></div>",
      w("policy.only"), h_lines(base::join(option_list(o, "only"), "\n")), w("policy.only.hint"));
  inside += field(w, "jobs", "policy.jobs", first("jobs", "4"), "text", "inputmode=numeric") +
            field(w, "max-rate", "policy.rate", option(o, "max-rate")) +
            field(w, "quiet-hours", "policy.quiet", option(o, "quiet-hours"));
  return fmt::format("<details class=policies data-unkept=\"{}\"><summary>{}</summary>{}</details>",
                     w("policies.unkept"), w("policies"), form("/api/policies", inside, submit(w, "policies.save")));
}

}  // namespace

std::string planned_lines(const std::string& language, const json::object& plan,
                          const std::vector<std::string>& not_in_it, const Pageful& asked,
                          const std::function<bool(const std::string&)>& selected, bool locked) {
  const Words w{language};
  Pageful p = asked;
  std::string rows;
  const auto wanted = base::lower(p.query);
  p.total = 0;
  const auto line = [&](const json::object& o) {
    if (!wanted.empty() &&
        base::lower(word(o, "account") + " " + word(o, "post_office") + " " + word(o, "reason")).find(wanted) ==
            std::string::npos)
      return;
    const auto at = p.total++;
    if (at < p.page * kLinesOnAPage || at >= (p.page + 1) * kLinesOnAPage) return;
    const auto account = word(o, "account");
    std::uint64_t messages = 0, octets = 0;
    std::string boxes;
    for (const auto& m : list(o, "mailboxes")) {
      const auto& b = m.as_object();
      messages += number(b, "messages_to_move");
      octets += number(b, "octets_to_move");
      const auto from = word(b, "from"), to = word(b, "to");
      boxes += fmt::format("<li>{}{} ({})</li>", h(from), from == to ? "" : " → " + h(to),
                           w.count(number(b, "messages_to_move")));
    }
    for (const auto& m : list(o, "left_out"))
      boxes +=
          fmt::format("<li>{}: {}</li>", h(word(m.as_object(), "mailbox")), english(w, h(word(m.as_object(), "why"))));
    const bool moves = word(o, "decision") == "move", in = selected(account);
    const auto decision = !moves                             ? w("decision.skip")
                          : !in                              ? w("decision.excluded")
                          : word(o, "on_target") == "create" ? w("decision.create_move")
                          : word(o, "on_target") == "adopt"  ? w("decision.adopt_move")
                                                             : w("decision.move");
    rows += fmt::format(
        "<tr class=\"{}\"><td>{}</td><th scope=row>{}{}</th><td>{}{}</td><td class=number>{}</td><td "
        "class=number>{}</td></tr>",
        moves && in ? "" : "dim",
        moves ? fmt::format("<input type=checkbox data-account=\"{}\" aria-label=\"{}\"{}{}>", h(account),
                            w("plan.include", {account}), in ? " checked" : "", locked ? " disabled" : "")
              : "",
        address(account),
        boxes.empty() ? ""
                      : fmt::format("<details><summary>{}</summary><ul>{}</ul></details>",
                                    w("plan.mailboxes", {w.count(list(o, "mailboxes").size())}), boxes),
        decision, moves ? "" : english(w, h(word(o, "reason")), "p"), w.count(messages), h(base::human_octets(octets)));
  };
  for (const auto& a : not_in_it) line({{"account", a}, {"decision", "move"}});
  for (const auto& a : list(plan, "accounts")) line(a.as_object());
  return fmt::format(
      "<div class=scroll tabindex=0 role=region aria-label=\"{}\"><table>{}<tbody>{}</tbody></table></div>{}",
      w("accounts"), table_head(w, {"plan.move", "account", "plan.decision", ">plan.messages", ">plan.size"}), rows,
      pager(w, p));
}

std::string summary_page(const Frame& f, const SummaryView& v, const std::string& accounts) {
  const Words w{f.language};
  const Options& o = v.options;
  const bool kerio = option(o, "target") != "imap";
  const auto or_local = [](std::string host) { return host.empty() ? std::string("localhost") : host; };
  std::string out =
      "<dl class=facts>" +
      fact(w("step.configuration"), w("config.line", {w.count(v.post_offices), w.count(v.accounts)}) +
                                        " <a href=\"/configuration\">" + w("change") + "</a>") +
      fact(w("step.source"), h(or_local(option(o, "source-host"))) + " <a href=\"/source\">" + w("change") + "</a>") +
      fact(w("step.target"), std::string(kerio ? "Kerio Connect" : "IMAP") + ": " +
                                 h(or_local(option(o, "target-host"))) + " <a href=\"/target\">" + w("change") +
                                 "</a>") +
      "</dl>";
  if (v.needs_password)
    out += notice("warn", fmt::format("<p>{}</p><p><a class=button href=\"/target\">{}</a></p>", w("summary.password"),
                                      w("step.target")));
  if (v.interrupted) out += notice("warn", fmt::format("<p>{}</p>", w("summary.interrupted")));
  if (v.locked)
    out += notice("warn", fmt::format("<p>{}</p><p><a class=button href=\"/progress\">{}</a></p>", w("summary.running"),
                                      w("step.progress")));
  out += policies_form(w, v);
  const bool can = !v.locked && !v.needs_password;
  const std::string dead = can ? "" : " disabled";
  const auto act = [&](std::string_view key, std::string_view post, std::string_view body, std::string_view kind) {
    return fmt::format("<button type=button class=\"{}\" data-post=\"{}\" data-body='{}'{}>{}</button>", kind, post,
                       body, dead, w(key));
  };
  if (v.plan.empty()) {
    out += fmt::format(
        "<section><h2>{}</h2><p>{}</p><div class=answer tabindex=-1 role=status></div><div "
        "class=buttons>{}{}</div></section>",
        w("dryrun.title"), w("dryrun.text"), back(w, "/target"), act("dryrun.start", "/api/plan", "{}", "primary"));
    return layout(f, "summary", w("summary.title"), out);
  }
  out += fmt::format("<section><h2>{}</h2><p>{}</p>", w("plan.title", {std::to_string(v.plan_number)}), w("plan.text"));
  out += plan_facts(w, v);
  if (v.plan_outdated) out += notice("warn", fmt::format("<p>{}</p>", w("plan.outdated")));
  out +=
      plan_domains(w, v.plan) + plan_remarks(w, v.plan) + "</section>" + account_table(w, "/planned", accounts, false);
  const auto start =
      act(v.interrupted ? "resume" : "start", "/api/start", fmt::format("{{\"plan\":{}}}", v.plan_number), "primary");
  const auto again = act("plan.again", "/api/plan", "{\"refresh\":true}", v.plan_outdated ? "primary" : "quiet");
  out += fmt::format("<p>{}</p><div class=answer tabindex=-1 role=status></div><div class=buttons>{}{}{}</div>",
                     w("start.text"), back(w, "/target"), again, v.plan_outdated ? "" : start);
  return layout(f, "summary", w("summary.title"), out);
}

// ---- progress ----

std::string live_panel(const std::string& language, const ProgressView& v) {
  const Words w{language};
  std::string out;
  if (!v.error.empty()) {
    out += notice(
        "bad", fmt::format("<h2>{}</h2>{}<p>{}</p>", w("run.failed"), english(w, h_lines(v.error), "pre", "tabindex=0"),
                           w(v.exit == base::Exit::plan_stale ? "run.failed.stale" : "run.failed.help")));
  }
  if (!v.running && !v.starting) {
    if (v.interrupted && v.error.empty()) out += notice("warn", fmt::format("<p>{}</p>", w("summary.interrupted")));
    return out;
  }
  const auto& s = v.status;
  const auto stage = word(s, "stage");
  out += fmt::format("<h2>{}</h2>", w(stage.empty() ? "stage.starting" : "stage." + stage));
  if (truth(s, "stopping")) out += notice("warn", fmt::format("<p>{}</p>", w("run.stopping")));
  const bool messages = stage == "copy" || stage == "verify";
  const auto total = number(s, messages ? "messages" : "accounts"),
             done = number(s, messages ? "messages_done" : "accounts_done");
  if (total > 0)
    out += fmt::format("<progress max={} value={} aria-label=\"{}\">{}%</progress>", total, std::min(done, total),
                       w(messages ? "plan.messages" : "accounts"), done * 100 / total);
  out += "<dl class=facts>";
  if (messages) out += fact(w("plan.messages"), w("of", {w.count(done), w.count(total)}));
  if (stage == "copy")
    out += fact(w("plan.size"),
                w("of", {base::human_octets(number(s, "octets_done")), base::human_octets(number(s, "octets"))}));
  if (messages) {
    const auto& rate = object(object(s, "rate"), "last_10_seconds");
    const auto per = [&](std::string_view what) {
      const auto* n = rate.if_contains(what);
      return n != nullptr && n->is_number() ? static_cast<std::uint64_t>(n->to_number<double>()) : 0;
    };
    out += fact(w("rate"), w("rate.messages", {w.count(per("messages"))}) +
                               (stage == "copy" ? ", " + w("rate.octets", {base::human_octets(per("octets"))}) : ""));
    const auto* eta = s.if_contains("eta_seconds");
    out +=
        fact(w("eta"), eta != nullptr && eta->is_number() ? h(duration(number(s, "eta_seconds"))) : w("eta.unknown"));
  }
  if (number(s, "accounts") > 0)
    out += fact(w("accounts"), w("of", {w.count(number(s, "accounts_done")), w.count(number(s, "accounts"))}));
  if (number(s, "accounts_failed") > 0) out += fact(w("state.failed"), w.count(number(s, "accounts_failed")));
  out += fact(w("elapsed"), h(duration(number(s, "stage_seconds")))) + "</dl>";
  if (const auto why = word(s, "waiting"); !why.empty())
    out += fmt::format("<p class=waiting>{}: {}</p>", w("waits"), english(w, h(why)));
  return out;
}

std::string account_lines(const std::string& language, const std::vector<AccountLine>& lines, const Pageful& p) {
  const Words w{language};
  std::string rows;
  for (const auto& l : lines) {
    const auto amount = l.messages > 0 || l.done > 0 ? w("of", {w.count(l.done), w.count(std::max(l.done, l.messages))})
                                                     : std::string();
    rows += fmt::format(
        "<tr class=\"is-{0}\"><th scope=row>{1}{4}</th><td><span class=state>{2}</span></td>"
        "<td class=number>{3}</td></tr>",
        l.state, address(l.address), w("state." + l.state), amount,
        l.detail.empty() ? "" : english(w, h(l.detail), "p"));
  }
  return fmt::format(
      "<div class=scroll tabindex=0 role=region aria-label=\"{}\"><table>{}<tbody>{}</tbody></table></div>{}",
      w("accounts"), table_head(w, {"account", "state", ">plan.messages"}), rows, pager(w, p));
}

std::string progress_page(const Frame& f, const ProgressView& v, const std::string& accounts) {
  const Words w{f.language};
  const bool live = v.running || v.starting;
  std::string buttons;
  if (live) {
    buttons = button(w, "abort", "/api/abort", "{}", "danger");
  } else {
    buttons = fmt::format("<a class=\"button quiet\" href=\"/summary\">{}</a>", w("step.summary"));
    if (v.exit == base::Exit::plan_stale || v.command == "plan")
      buttons += button(w, "plan.again", "/api/plan", "{\"refresh\":true}");
    else if (f.steps.plan) buttons += button(w, "resume", "/api/start", "{}");
  }
  return layout(f, "progress", w(v.command == "plan" ? "progress.plan.title" : "progress.title"),
                fmt::format("<p class=lead>{}</p><section id=live data-live={}>{}</section><div class=answer "
                            "tabindex=-1 role=status></div>"
                            "<div class=buttons>{}</div>{}",
                            w(live ? "progress.lead" : "progress.over"), live ? 1 : 0, live_panel(f.language, v),
                            buttons, account_table(w, "/accounts", accounts, live)));
}

// ---- results ----

std::string results_page(const Frame& f, const ResultsView& v) {
  const Words w{f.language};
  if (v.report.empty()) return layout(f, "results", w("results.title"), fmt::format("<p>{}</p>", w("results.none")));
  const auto& r = v.report;
  const auto exit = number(object(r, "verdict"), "exit");
  const auto kind = exit == 0 ? "good" : exit == 4 ? "bad" : "warn";
  std::string out = notice(
      kind, fmt::format("<h2>{}</h2>{}",
                        w(fmt::format("verdict.{}",
                                      exit == 0 || exit == 3 || exit == 4 || exit == 130 || exit == 12 ? exit : 1)),
                        english(w, h(word(object(r, "verdict"), "sentence")), "p")));
  const auto& b = object(r, "books");
  out += "<dl class=facts>";
  for (const auto* key : {"inventory", "bound", "verified", "pending", "quarantined", "excluded", "gone"})
    out += fact(w(fmt::format("books.{}", key)), w.count(number(b, key)));
  const auto& run = object(r, "run");
  out += fact(w("books.sent"), w.count(number(run, "appended")) + ", " + h(base::human_octets(number(run, "octets")))) +
         fact(w("took"), h(duration(number(run, "seconds")))) + "</dl>";
  std::string rows;
  for (const auto& p : list(r, "post_offices")) {
    const auto& o = p.as_object();
    rows += fmt::format(
        "<tr><th scope=row>{}</th><td class=number>{}</td><td class=number>{}</td><td class=number>{}</td><td "
        "class=number>{}</td><td class=number>{}</td></tr>",
        h(word(o, "post_office")), w.count(number(o, "inventory")), w.count(number(o, "bound")),
        w.count(number(o, "verified")), w.count(number(o, "quarantined")), w.count(number(o, "pending")));
  }
  out += fmt::format(
      "<h2>{0}</h2><div class=scroll tabindex=0 role=region "
      "aria-label=\"{0}\"><table>{1}<tbody>{2}</tbody></table></div>",
      w("plan.post_offices"),
      table_head(w, {"plan.post_office", ">books.inventory", ">books.bound", ">books.verified", ">books.quarantined",
                     ">books.pending"}),
      rows);
  std::string trouble;
  for (const auto& t : list(r, "trouble"))
    trouble +=
        fmt::format("<li>{}: {}</li>", h(word(t.as_object(), "account")), english(w, h(word(t.as_object(), "why"))));
  if (!trouble.empty()) {
    const auto n = number(r, "trouble_count");
    out +=
        fmt::format("<h2>{}</h2><p>{}</p><ul>{}</ul>{}", w("results.trouble", {w.count(n)}), w("results.trouble.help"),
                    trouble, n > list(r, "trouble").size() ? fmt::format("<p>{}</p>", w("results.more")) : "");
  }
  std::string files;
  for (const auto& [name, octets] : v.files)
    files +=
        fmt::format("<li><a href=\"/reports/{0}\" download>{0}</a> ({1})</li>", h(name), h(base::human_octets(octets)));
  out += fmt::format("<h2>{}</h2><p>{}</p><ul class=files>{}</ul>", w("results.files"),
                     w("results.files.text", {v.state}), files);
  out += fmt::format(
      "<h2>{}</h2><p>{}</p><div class=answer tabindex=-1 role=status></div><div class=buttons>{}{}{}{}</div>",
      w("results.next"), w("results.next.text"), button(w, "results.verify", "/api/verify", "{}", "quiet"),
      number(b, "quarantined") > 0 ? button(w, "results.retry", "/api/retry", "{}", "quiet") : "",
      button(w, "results.again", "/api/plan", "{\"refresh\":true}", "quiet"),
      button(w, "quit", "/api/quit", "{}", "primary"));
  return layout(f, "results", w("results.title"), out);
}

std::string message_page(const Frame& f, int status, const std::string& text) {
  const Words w{f.language};
  return layout(f, "", w(status == 404 ? "missing.title" : "error.title"), english(w, h(text), "p"));
}

std::string folder_list(const std::string& language, const Folder& folder) {
  const Words w{language};
  std::string out = fmt::format("<p>{}</p><ul>", h(folder.path));
  const auto item = [&](const std::string& path, const std::string& name, bool is_folder) {
    out += fmt::format("<li><button type=button class=link data-{}=\"{}\">{}</button></li>",
                       is_folder ? "enter" : "take", h(path), name);
  };
  if (!folder.above.empty()) item(folder.above, w("chooser.up"), true);
  for (const auto& e : folder.entries)
    item((folder.path == "/" ? "" : folder.path) + "/" + e.name, h(e.name) + (e.folder ? "/" : ""), e.folder);
  out += "</ul>";
  out += fmt::format("<button type=button class=quiet data-take=\"{}\" data-only-folder>{}</button>", h(folder.path),
                     w("chooser.this"));
  return out;
}

}  // namespace pipeline::wizard
