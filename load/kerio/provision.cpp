#include "load/kerio/provision.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.hpp"

namespace load::kerio {

namespace asio = boost::asio;
using state::ObjectState;
using state::TargetObject;

namespace {

constexpr std::size_t kBatch = 50;
constexpr int kRounds = 6;  // of looking and making: a reply that is lost every time must end somewhere
constexpr int kExists = 1001, kOverLicence = 1003, kNotAllowed = 1004;

std::string full(const std::string& login, const std::string& domain) { return base::lower(login + "@" + domain); }

// What a batch left open: to be looked at, in smaller batches if need be.
template <class T>
void after_answers(const std::vector<Made>& made, std::vector<T>& batch, std::vector<T>& open, bool& lost,
                   std::size_t& size, std::vector<std::pair<T, Made>>& ended) {
  for (std::size_t i = 0; i < batch.size(); ++i) {
    const auto& m = made[i];
    if (!m.id.empty() || (m.error.kind == ApiError::refused && m.error.code != kExists)) {
      ended.emplace_back(std::move(batch[i]), m);
      continue;
    }
    if (m.error.kind == ApiError::too_large && batch.size() == 1) {
      ended.emplace_back(std::move(batch[i]), m);
      continue;
    }
    lost = lost || m.error.kind == ApiError::unknown;
    open.push_back(std::move(batch[i]));
  }
  if (!made.empty() && made.front().error.kind == ApiError::too_large)
    size = std::max<std::size_t>(1, batch.size() / 2);
}

}  // namespace

asio::awaitable<void> Provisioner::save(std::vector<TargetObject> objects) {
  auto work = [objects = std::move(objects)](state::Db& db) { state::save_objects(db, objects); };
  co_await context_.store.run(std::move(work));
}

asio::awaitable<std::map<std::string, std::string>> Provisioner::domains(std::vector<WantedDomain> wanted) {
  std::map<std::string, std::string> errors;
  std::size_t size = kBatch;
  std::vector<WantedDomain> todo = wanted;
  std::map<std::string, std::string> last_words;
  bool lost = false;
  for (int round = 0; !todo.empty(); ++round) {
    // What was lost may still be carried out: only after the settle does "not there" mean anything.
    if (lost) co_await context_.clock.sleep(context_.settle);
    lost = false;
    const auto there = co_await admin_.domains();
    std::vector<TargetObject> found;
    std::erase_if(todo, [&](const WantedDomain& w) {
      const auto d = std::find_if(there.begin(), there.end(), [&](const auto& t) { return t.name == w.name; });
      if (d == there.end()) return false;
      if (d->id == w.id || is_marked(d->description, w.name)) {
        domain_ids_[w.name] = d->id;
        if (w.id.empty()) found.push_back({"domain", w.name, {}, ObjectState::ours, d->id, {}});
      } else {
        found.push_back({"domain", w.name, {}, ObjectState::refused, {}, "somebody else's has appeared there"});
        errors[w.name] = fmt::format(
            "The domain {} has appeared on the target since the plan was made, and is not ours. It was left as it is; "
            "make a new plan.",
            w.name);
      }
      return true;
    });
    co_await save(std::move(found));
    if (todo.empty() || context_.stopping()) break;
    if (round == kRounds) {
      for (const auto& w : todo)
        errors[w.name] = fmt::format("The domain {} could not be made: {}. Run again.", w.name, last_words[w.name]);
      break;
    }
    std::vector<WantedDomain> open;
    while (!todo.empty()) {
      std::vector<WantedDomain> batch;
      std::vector<TargetObject> intents;
      std::vector<std::pair<std::string, std::string>> items;
      while (!todo.empty() && batch.size() < size) {
        batch.push_back(std::move(todo.front()));
        todo.erase(todo.begin());
        intents.push_back({"domain", batch.back().name, {}, ObjectState::intent, {}, {}});
        items.emplace_back(batch.back().name, with_mark(batch.back().description, batch.back().name));
      }
      co_await save(std::move(intents));
      const auto made = co_await admin_.create_domains(std::move(items));
      for (std::size_t i = 0; i < batch.size(); ++i) last_words[batch[i].name] = made[i].error.text;
      std::vector<std::pair<WantedDomain, Made>> ended;
      after_answers(made, batch, open, lost, size, ended);
      std::vector<TargetObject> outcomes;
      for (const auto& [w, m] : ended) {
        if (!m.id.empty()) {
          domain_ids_[w.name] = m.id;
          outcomes.push_back({"domain", w.name, {}, ObjectState::ours, m.id, {}});
          context_.event("domain created", w.name);
        } else {
          errors[w.name] = fmt::format(
              "Could not create the domain {} on the target: server said {}. Its accounts and "
              "their mail stay pending.",
              w.name, m.error.text);
          outcomes.push_back({"domain", w.name, {}, ObjectState::refused, {}, m.error.text});
        }
      }
      co_await save(std::move(outcomes));
    }
    todo = std::move(open);
  }
  const auto there = co_await admin_.domains();
  for (const auto& w : wanted) {
    if (w.aliases.empty() || !domain_ids_.contains(w.name) || context_.stopping()) continue;
    const auto d = std::find_if(there.begin(), there.end(), [&](const auto& t) { return t.name == w.name; });
    if (d != there.end()) co_await add_aliases(w, *d, &errors);
  }
  co_return errors;
}

// The list is replaced as a whole. Refused, each new alias is tried alone, so that one cannot spoil the others.
asio::awaitable<void> Provisioner::add_aliases(WantedDomain wanted, TargetDomain there,
                                               std::map<std::string, std::string>* errors) {
  std::vector<std::string> missing;
  std::vector<TargetObject> known;
  for (const auto& a : wanted.aliases) {
    const bool has = std::find(there.aliases.begin(), there.aliases.end(), a) != there.aliases.end();
    if (!has) missing.push_back(a);
    known.push_back({"alias", a, wanted.name, has ? ObjectState::ours : ObjectState::intent, {}, {}});
  }
  co_await save(std::move(known));
  if (missing.empty()) co_return;
  std::string error = co_await try_aliases(&there, missing);
  std::vector<std::pair<std::string, std::string>> refused;
  if (!error.empty() && missing.size() > 1) {
    for (const auto& a : missing) {
      std::vector<std::string> one;
      one.push_back(a);
      const std::string why = co_await try_aliases(&there, std::move(one));
      if (!why.empty()) refused.emplace_back(a, why);
    }
  } else if (!error.empty()) {
    refused.emplace_back(missing.front(), error);
  }
  std::vector<TargetObject> outcomes;
  for (const auto& a : missing) {
    const auto no = std::find_if(refused.begin(), refused.end(), [&](const auto& r) { return r.first == a; });
    if (no == refused.end()) {
      outcomes.push_back({"alias", a, wanted.name, ObjectState::ours, {}, {}});
      context_.event("domain alias added", fmt::format("{} for {}", a, wanted.name));
    } else {
      outcomes.push_back({"alias", a, wanted.name, ObjectState::refused, {}, no->second});
      (*errors)[a] = fmt::format(
          "Could not make {} an alias of {} on the target: server said {}. Mail to addresses "
          "there is not delivered; everything else goes on.",
          a, wanted.name, no->second);
    }
  }
  co_await save(std::move(outcomes));
}

// Why not, or nothing. A lost reply is looked at: the list itself tells.
asio::awaitable<std::string> Provisioner::try_aliases(TargetDomain* there, std::vector<std::string> add) {
  std::string words;
  for (int round = 0; round < kRounds; ++round) {
    std::vector<std::string> all = there->aliases;
    all.insert(all.end(), add.begin(), add.end());
    const auto error = co_await admin_.set_aliases(there->id, all);
    if (!error) {
      there->aliases = std::move(all);
      co_return std::string();
    }
    words = error->text;
    if (error->kind != ApiError::unknown) co_return words;
    co_await context_.clock.sleep(context_.settle);
    for (const auto& d : co_await admin_.domains())
      if (d.id == there->id) *there = d;
    std::erase_if(add, [&](const auto& a) {
      return std::find(there->aliases.begin(), there->aliases.end(), a) != there->aliases.end();
    });
    if (add.empty()) co_return std::string();
  }
  co_return words;
}

asio::awaitable<std::map<std::string, std::string>> Provisioner::accounts(std::string domain, std::string domain_id,
                                                                          std::vector<WantedAccount> wanted) {
  std::map<std::string, std::string> errors;
  std::size_t size = kBatch;
  std::vector<WantedAccount> todo = std::move(wanted);
  std::map<std::string, std::string> last_words;
  bool lost = false;
  for (int round = 0; !todo.empty(); ++round) {
    if (lost) co_await context_.clock.sleep(context_.settle);
    lost = false;
    const auto there = co_await admin_.users(domain_id);
    std::vector<TargetObject> found;
    std::erase_if(todo, [&](const WantedAccount& w) {
      const auto u =
          std::find_if(there.begin(), there.end(), [&](const auto& t) { return base::iequals(t.login, w.login); });
      if (u == there.end()) return false;
      if (is_marked(u->description, w.address))
        found.push_back({"account", full(w.login, domain), domain, ObjectState::ours, u->id, {}});
      else
        errors[w.address] = fmt::format(
            "The account {} has appeared on the target since the plan was made, and is not ours. It was left as it is; "
            "make a new plan.",
            full(w.login, domain));
      return true;
    });
    co_await save(std::move(found));
    if (todo.empty() || context_.stopping()) break;
    if (round == kRounds) {
      for (const auto& w : todo)
        errors[w.address] = fmt::format("The account {} could not be made: {}. Its mail stays pending; run again.",
                                        full(w.login, domain), last_words[w.address]);
      break;
    }
    std::vector<WantedAccount> open;
    while (!todo.empty() && !context_.stopping()) {
      std::vector<WantedAccount> batch;
      std::vector<TargetObject> intents;
      std::vector<NewUser> items;
      while (!todo.empty() && batch.size() < size) {
        batch.push_back(std::move(todo.front()));
        todo.erase(todo.begin());
        const auto& w = batch.back();
        intents.push_back({"account", full(w.login, domain), domain, ObjectState::intent, {}, {}});
        items.push_back({w.login, w.full_name, with_mark({}, w.address), w.password});
      }
      co_await save(std::move(intents));
      const auto made = co_await admin_.create_users(domain_id, std::move(items));
      for (std::size_t i = 0; i < batch.size(); ++i) last_words[batch[i].address] = made[i].error.text;
      std::vector<std::pair<WantedAccount, Made>> ended;
      after_answers(made, batch, open, lost, size, ended);
      std::vector<TargetObject> outcomes;
      for (const auto& [w, m] : ended) {
        const std::string name = full(w.login, domain);
        std::string words = m.error.text;
        if (!m.id.empty()) {
          made_.push_back(w.address);
          outcomes.push_back({"account", name, domain, ObjectState::ours, m.id, {}});
          context_.event("account created", name);
          continue;
        }
        const bool perhaps_password = m.error.code != kOverLicence && m.error.code != kNotAllowed &&
                                      m.error.kind == ApiError::refused && context_.keep_new_password;
        if (perhaps_password) {
          const Made again = co_await with_new_password(domain, domain_id, w);
          words = again.error.text;
          if (!again.id.empty()) {
            made_.push_back(w.address);
            std::vector<TargetObject> outcome;
            outcome.push_back({"account", name, domain, ObjectState::ours, again.id, {}});
            co_await save(std::move(outcome));
            context_.event("account created", name + " (at the second try)");
            continue;
          }
          if (again.error.kind == ApiError::refused && again.error.code == kExists) {
            open.push_back(w);  // it is there after all, with its own password: whose it is, the next round sees
            continue;
          }
          if (again.error.kind == ApiError::unknown) {
            errors[w.address] =
                fmt::format("It is not known whether the account {} was made: {}. Run again.", name, words);
            continue;
          }
        }
        errors[w.address] =
            m.error.code == kOverLicence
                ? fmt::format(
                      "Could not create the account {} on the target: server said {}. Usually the licence allows "
                      "no further account: raise it and run again. Its mail stays pending.",
                      name, words)
                : fmt::format(
                      "Could not create the account {} on the target: server said {}. If it is the password, put "
                      "another one into the roster, or add --on-refused-password generate, and run again. Its "
                      "mail stays pending.",
                      name, words);
        outcomes.push_back({"account", name, domain, ObjectState::refused, {}, words});
      }
      co_await save(std::move(outcomes));
    }
    todo = std::move(open);
  }
  co_return errors;
}

// Once more alone, with its own password: what was refused in a batch need not be its password. Only then a new one,
// which is on disk before it is on the server.
asio::awaitable<Made> Provisioner::with_new_password(std::string domain, std::string domain_id, WantedAccount wanted) {
  for (const bool own : {true, false}) {
    if (!own) {
      wanted.password = co_await admin_.generate_password(domain_id);
      if (wanted.password.empty()) co_return Made{{}, {ApiError::refused, 0, "no password was generated"}};
      // In this order: a line in the file that the ledger knows nothing of would be followed by a second one.
      std::vector<TargetObject> intent;
      intent.push_back({"account", full(wanted.login, domain), domain, ObjectState::intent, {}, state::kNewPassword});
      co_await save(std::move(intent));
      context_.keep_new_password(wanted.address, wanted.password);
    }
    std::vector<NewUser> items;
    items.push_back({wanted.login, wanted.full_name, with_mark({}, wanted.address), wanted.password});
    const auto made = co_await admin_.create_users(domain_id, std::move(items));
    const auto& m = made.front();
    const bool refused = m.id.empty() && m.error.kind == ApiError::refused;
    // Refused with its own: on to a new one. A lost reply is looked at by the next run: the intent is on record.
    if (own && refused && m.error.code != kExists) continue;
    if (!own && refused) context_.drop_new_password(wanted.address);
    co_return m;
  }
  co_return Made{};
}

}  // namespace load::kerio
