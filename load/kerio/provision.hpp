// Makes domains, aliases and accounts on the target, each exactly once: an intent in the ledger, the call, its outcome.
// A reply that was lost is never repeated blindly: after the settle the server is read, and what bears our mark is
// ours.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "load/kerio/admin.hpp"
#include "state/ledger.hpp"
#include "state/store.hpp"

namespace load::kerio {

struct WantedDomain {
  std::string name;                  // also the source's name that the mark is of
  std::string id;                    // known already: only its aliases are looked after
  std::string description;           // without the mark
  std::vector<std::string> aliases;  // to be there in the end, besides those it has
};
struct WantedAccount {
  std::string address, login, full_name;  // address at the source: what the mark is of; login without a domain
  base::Secret password;
};

class Provisioner {
 public:
  struct Context {
    state::Store& store;
    base::Clock& clock;
    std::chrono::milliseconds settle{10000};
    std::function<void(const std::string& kind, const std::string& detail)> event;
    std::function<bool()> stopping;
    // A refused password is replaced by a new one. The function keeps it, durably, before it is used; empty: not
    // wanted.
    std::function<void(const std::string& address, const base::Secret& password)> keep_new_password;
    // The one kept last was refused as well: it is nobody's password.
    std::function<void(const std::string& address)> drop_new_password;
  };
  Provisioner(Admin& admin, Context context) : admin_(admin), context_(std::move(context)) {}

  // Both return why each that is not there could not be made, by name or address. Failures of reading end the run.
  boost::asio::awaitable<std::map<std::string, std::string>> domains(std::vector<WantedDomain> wanted);
  boost::asio::awaitable<std::map<std::string, std::string>> accounts(std::string domain, std::string domain_id,
                                                                      std::vector<WantedAccount> wanted);
  // The ids of the domains that are there now, by name.
  const std::map<std::string, std::string>& domain_ids() const { return domain_ids_; }
  // Addresses of the accounts that were made in this run.
  const std::vector<std::string>& made() const { return made_; }

 private:
  boost::asio::awaitable<void> add_aliases(WantedDomain wanted, TargetDomain there,
                                           std::map<std::string, std::string>* errors);
  boost::asio::awaitable<std::string> try_aliases(TargetDomain* there, std::vector<std::string> add);
  boost::asio::awaitable<void> save(std::vector<state::TargetObject> objects);
  boost::asio::awaitable<Made> with_new_password(std::string domain, std::string domain_id, WantedAccount wanted);

  Admin& admin_;
  Context context_;
  std::map<std::string, std::string> domain_ids_;
  std::vector<std::string> made_;
};

}  // namespace load::kerio
