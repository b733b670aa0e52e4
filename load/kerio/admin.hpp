// What the migration asks of, and does on, a Kerio Connect server, in the server's own words turned into plain values.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "load/kerio/api_client.hpp"

namespace load::kerio {

struct PasswordPolicy {
  bool complex = false;
  int minimum = 0;
};

struct TargetDomain {
  std::string id, name, description;  // name: lower case
  bool primary = false;
  std::vector<std::string> aliases;  // lower case
  PasswordPolicy policy;
  int user_max = -1;                 // -1: no limit
  std::vector<std::string> hazards;  // clean-out rules and quotas that would hurt migrated mail, as phrases
};

struct TargetUser {
  std::string id, login, description;  // login: lower case, without the domain
  bool enabled = true;
  std::vector<std::string> hazards;
};

struct Server {
  std::string version;  // "Kerio Connect 10.0.8", as it names itself
  bool windows = false;
  std::uint16_t imaps_port = 0, imap_port = 0;  // 0: that service does not run
  bool master_authentication = false;
  int refusals_to_block = 0;                  // log-in guard: so many refused log-ins block us; 0: none
  std::optional<std::uint64_t> licence_left;  // accounts that may still be created; nothing: unlimited or not said
  std::optional<base::Octets> disk_free;
  base::Octets watchdog_stops_below = 0;  // the server stops when less is free
};

// Somebody else's address that a new account would share.
struct Collision {
  std::string address, kind, name;
};

// An open IMAP connection, as the server sees it.
struct Connection {
  std::string host;  // where it comes from, without a port
  std::chrono::seconds age{0};
};

struct NewUser {
  std::string login, full_name, description;
  base::Secret password;
};
// Of one item of a batch.
struct Made {
  std::string id;  // not empty: it was made
  ApiError error;  // else why not; unknown: look before anything else
};

// Failures of reading end the run (base::Failed).
class Admin {
 public:
  explicit Admin(ApiClient& api) : api_(api) {}

  boost::asio::awaitable<Server> server();
  boost::asio::awaitable<std::vector<TargetDomain>> domains();
  boost::asio::awaitable<std::vector<TargetUser>> users(std::string domain_id);
  boost::asio::awaitable<std::vector<Collision>> collisions(std::string domain_id,
                                                            std::vector<std::string> local_parts);
  // The addresses that mail for `address` is delivered to.
  boost::asio::awaitable<std::vector<std::string>> delivered_to(std::string address);
  // Of IMAP and IMAPS, logged in as that address.
  boost::asio::awaitable<std::vector<Connection>> imap_connections(std::string address);

  // One answer an item, in order. Nothing is repeated here.
  boost::asio::awaitable<std::vector<Made>> create_domains(
      std::vector<std::pair<std::string, std::string>> name_and_description);
  boost::asio::awaitable<std::vector<Made>> create_users(std::string domain_id, std::vector<NewUser> users);
  // Replaces the whole list (it cannot be added to). Nothing: it is done.
  boost::asio::awaitable<std::optional<ApiError>> set_aliases(std::string domain_id, std::vector<std::string> aliases);
  boost::asio::awaitable<base::Secret> generate_password(std::string domain_id);

 private:
  ApiClient& api_;
};

// How many of an account's connections come from where the youngest of them does. Ours is the youngest as a rule, and
// which host we are to the server, behind a NAT, nobody else can tell.
std::size_t from_our_host(const std::vector<Connection>& connections);

// The mark on what we made: at the end of the description, and valid only on the object whose source address it is of.
std::string mark_of(const std::string& source_address);
bool is_marked(const std::string& description, const std::string& source_address);
// Made by us for somebody else: never this one's, whatever id is on record.
bool is_marked_for_another(const std::string& description, const std::string& source_address);
std::string with_mark(const std::string& description, const std::string& source_address);

// Why the policy would refuse this password, as a phrase; empty: nothing is known against it. Three of four kinds of
// character; neither the user's name, the domain's nor a part (more than 2 characters) of the full name inside.
std::string password_problem(const PasswordPolicy& policy, std::string_view password, const std::string& login,
                             const std::string& domain, const std::string& full_name);

}  // namespace load::kerio
