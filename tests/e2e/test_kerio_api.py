"""The Kerio double's Administration API: one test for each rule that a migration may run into."""
import hashlib, http.client, json, re, shutil, socket, ssl, subprocess, sys, tempfile, time, unittest
from pathlib import Path
import kerio
from kerio import ApiError, Double

PROGRAM = sys.argv[1] if len(sys.argv) > 1 else ""
README = Path(__file__).resolve().parents[2] / "fixtures" / "kerio-double" / "README.md"
QUERY = {"fields": [], "conditions": [], "combining": "And", "start": 0, "limit": -1, "orderBy": []}


class Case(unittest.TestCase):
    options = []

    def start(self, *options):
        self.double = Double(*self.options, *options, program=PROGRAM)
        self.addCleanup(self.stop, self.double)
        self.api = self.double.api().login()
        self.ids = {d["name"]: d["id"] for d in self.call("Domains.get", query=QUERY)["list"]}
        return self.api

    def stop(self, double):
        self.assertEqual(double.stop(), 0, "the double did not end well")

    def call(self, method, **params):
        return self.api.call(method, params or None)

    def refused(self, code, method, params=None, api=None, says=""):
        """The whole call is answered with this error."""
        with self.assertRaises(ApiError) as caught:
            (api or self.api).call(method, params)
        self.assertEqual(caught.exception.code, code, caught.exception)
        self.assertIn(says, caught.exception.message)
        return caught.exception

    def user(self, login, domain="north.example", **more):
        return {"domainId": self.ids[domain], "loginName": login, "password": "Secret-123", **more}

    def create(self, *users):
        return self.call("Users.create", users=list(users))

    def failed(self, answer, codes):
        """`codes`: {inputIndex: code}, exactly; all other items passed."""
        self.assertEqual({e["inputIndex"]: e["code"] for e in answer["errors"]}, codes, answer)
        for e in answer["errors"]:
            self.assertEqual(set(e), {"inputIndex", "code", "message", "messageParameters"})
            self.assertEqual(set(e["messageParameters"]), {"positionalParameters", "plurality"})
        return [r["inputIndex"] for r in answer.get("result", [])]

    def logins(self, domain="north.example", **query):
        return [u["loginName"] for u in self.call("Users.get", query={**QUERY, **query}, domainId=self.ids[domain])["list"]]

    def addresses(self):
        return [u["address"] for u in self.double.dump()["users"]]


class Transport(Case):
    def envelope(self, body):
        answer = self.api.http(body=body if isinstance(body, str) else json.dumps(body), headers=self.api.headers())
        self.assertEqual(answer.status, 200)
        return answer.json()

    def test_ready_line_and_certificate(self):
        self.start()
        self.assertRegex(self.double.fingerprint, r"^sha256:[0-9a-f]{64}$")
        pem = ssl.get_server_certificate(("127.0.0.1", self.double.api_port))
        self.assertEqual("sha256:" + hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest(), self.double.fingerprint)
        context = ssl.create_default_context(cadata=pem)
        with socket.create_connection(("127.0.0.1", self.double.api_port)) as s, context.wrap_socket(s, server_hostname="localhost"):
            pass
        with socket.create_connection(("127.0.0.1", self.double.api_port)) as s, context.wrap_socket(s, server_hostname="127.0.0.1"):
            pass
        self.assertEqual((self.double.imap_port, self.double.imaps_port), (0, 0))

    def test_only_post_to_one_path(self):
        self.start()
        self.assertEqual(self.api.http("POST", "/admin/api/", "{}").status, 404)
        self.assertEqual(self.api.http("POST", "/webmail/api/jsonrpc/", "{}").status, 404)
        self.assertEqual(self.api.http("GET").status, 405)
        whoami = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "Session.whoAmI"})
        self.assertIn("result", self.api.http(path="/admin/api/jsonrpc", body=whoami, headers=self.api.headers()).json())

    def test_server_header_unless_hidden(self):
        self.start("--switch", "version=9.2.12 patch 1")
        self.assertEqual(self.api.raw("Session.whoAmI").headers["Server"], "Kerio Connect 9.2.12 patch 1")
        self.double.control("switch hidden-version on")
        self.assertIsNone(self.api.raw("Session.whoAmI").headers["Server"])
        self.assertFalse(self.call("AdvancedOptions.get")["options"]["miscellaneous"]["showProgramNameAndVersion"])

    def test_one_connection_carries_many_calls_and_chunks(self):
        self.start()
        self.call("Session.whoAmI")
        first = self.api.connection.sock
        body = json.dumps({"jsonrpc": "2.0", "id": 5, "method": "Session.whoAmI"}).encode()
        answer = self.api.http(body=iter([body[:20], body[20:]]), headers={**self.api.headers(), "Transfer-Encoding": "chunked"}, chunked=True)
        self.assertIn("result", answer.json())
        self.assertIs(self.api.connection.sock, first)

    def test_connection_close_is_honoured(self):
        self.start()
        body = json.dumps({"jsonrpc": "2.0", "id": 5, "method": "Session.whoAmI"})
        answer = self.api.http(body=body, headers={**self.api.headers(), "Connection": "close"})
        self.assertEqual(answer.headers["Connection"], "close")

    def test_envelope(self):
        self.start()
        self.assertEqual(self.envelope("{nonsense")["error"]["code"], -32700)
        self.assertEqual(self.envelope([])["error"]["code"], -32600)
        for member in ("jsonrpc", "id", "method"):
            whole = {"jsonrpc": "2.0", "id": 1, "method": "Session.whoAmI"}
            del whole[member]
            self.assertEqual(self.envelope(whole)["error"]["code"], -32600, member)
        self.assertEqual(self.envelope({"jsonrpc": "1.0", "id": 1, "method": "Session.whoAmI"})["error"]["code"], -32600)
        self.assertEqual(self.envelope({"jsonrpc": "2.0", "id": 1, "method": "Session.whoAmI", "params": []})["error"]["code"], -32602)
        big = 2**63 - 25
        got = self.envelope({"jsonrpc": "2.0", "id": big, "method": "Session.whoAmI"})
        self.assertEqual((got["id"], got["jsonrpc"]), (big, "2.0"))
        got = self.envelope({"jsonrpc": "2.0", "id": big, "method": "Nobody.knows"})
        self.assertEqual((got["id"], got["error"]["code"]), (big, -32601))

    def test_error_parameters_are_below_data(self):
        self.start()
        e = self.refused(1002, "Users.get", {"query": QUERY, "domainId": "keriodb://domain/none"})
        self.assertEqual(e.error["data"]["messageParameters"], {"positionalParameters": ["keriodb://domain/none"], "plurality": 1})

    def test_too_large(self):
        self.start("--switch", "too-large-octets=600", "--switch", "too-large-items=2")
        self.refused("HTTP 413", "Session.whoAmI", {"x" * 700: 1})
        self.double.control("switch too-large-octets 0")
        three = [{"name": f"d{i}.example"} for i in range(3)]
        self.refused("HTTP 413", "Domains.create", {"domains": three})
        self.assertEqual(len(self.double.dump()["domains"]), 1)
        self.failed(self.call("Domains.create", domains=three[:2]), {})
        ids = [u["id"] for u in self.double.dump()["domains"]]
        self.call("Users.getStatistics", userIds=[], query=QUERY)
        self.refused("HTTP 413", "Domains.set", {"domainIds": ids, "pattern": {}})

    def test_more_than_16_mib_is_too_large(self):
        self.start()
        with socket.create_connection(("127.0.0.1", self.double.api_port), timeout=30) as s:
            with ssl._create_unverified_context().wrap_socket(s) as t:
                t.sendall(b"POST /admin/api/jsonrpc/ HTTP/1.1\r\nHost: x\r\nContent-Length: 17000000\r\n\r\n")
                self.assertIn(b" 413 ", t.recv(1000))


class Sessions(Case):
    options = ["--domain", "north.example=n.example", "--user", "boss@north.example=boss-pw", "--user", "chief@kerio.example=chief-pw"]

    def start(self, *options):
        super().start(*options)
        self.double.control("set boss@north.example role FullAdmin")
        self.double.control("set chief@kerio.example role FullAdmin")

    def login(self, user, password):
        return self.double.api().login(user, password)

    def login_refused(self, code, user, password):
        with self.assertRaises(ApiError) as caught:
            self.login(user, password)
        self.assertEqual(caught.exception.code, code)

    def test_login_answers_token_and_cookie(self):
        self.start()
        self.assertRegex(self.api.token, r"^[0-9a-f]{64}$")
        answer = self.double.api().raw("Session.login", {"userName": "admin", "password": "admin-secret", "application": {"name": "a", "vendor": "b", "version": "c"}})
        self.assertRegex(answer.headers["Set-Cookie"], r"^SESSION_CONNECT_WEBADMIN=[0-9a-f]+; path=/; HttpOnly$")
        self.assertEqual(set(answer.json()["result"]), {"token"})

    def test_application_must_be_a_whole_object(self):
        self.start()
        for application in ("Migrator", {"name": "x"}, None):
            params = {"userName": "admin", "password": "admin-secret", "application": application}
            self.refused(-32602, "Session.login", params, self.double.api())
        self.refused(-32602, "Session.login", {"userName": "admin", "password": "admin-secret"}, self.double.api())

    def test_wrong_password(self):
        self.start()
        self.login_refused(-32000, "admin", "wrong")
        self.login_refused(-32000, "nobody@north.example", "wrong")
        self.double.control("switch bad-login-code -32001")
        self.login_refused(-32001, "admin", "wrong")

    def test_who_may_log_in(self):
        self.start("--user", "plain@north.example=plain-pw")
        self.login("boss@north.example", "boss-pw")
        self.login("BOSS@North.Example", "boss-pw")
        self.login("chief", "chief-pw")
        self.login_refused(-32000, "boss", "boss-pw")
        self.login_refused(-32000, "boss@n.example", "boss-pw")
        self.login_refused(-32000, "plain@north.example", "plain-pw")
        self.double.control("set boss@north.example enabled off")
        self.login_refused(-32000, "boss@north.example", "boss-pw")

    def test_cookie_and_token_are_both_needed(self):
        self.start()
        cookie, token = self.api.cookie, self.api.token
        self.api.cookie = None
        self.refused(-32001, "Session.whoAmI")
        self.api.cookie = cookie.replace("=", "=0", 1)
        self.refused(-32001, "Session.whoAmI")
        self.api.cookie, self.api.token = cookie, None
        self.refused(-32001, "Session.whoAmI")
        self.api.token = token
        body = {"jsonrpc": "2.0", "id": 1, "method": "Session.whoAmI"}
        headers = {"Cookie": "other=1; " + cookie}
        self.assertIn("error", self.api.http(body=json.dumps(body), headers=headers).json())
        self.assertIn("result", self.api.http(body=json.dumps({**body, "token": token}), headers=headers).json())
        self.assertIn("result", self.api.http(body=json.dumps(body), headers={**headers, "X-Token": token}).json())

    def test_without_a_session_nothing_is_answered(self):
        self.start()
        for method in ("Session.whoAmI", "Session.logout", "Domains.get", "Server.getVersion"):
            self.refused(-32001, method, api=self.double.api(), says="Session expired.")

    def test_sessions_end(self):
        self.start()
        other = self.login("boss@north.example", "boss-pw")
        self.assertIn("redirectUrl", self.call("Session.logout"))
        self.refused(-32001, "Session.whoAmI")
        other.call("Session.whoAmI")
        self.double.control("expire")
        self.refused(-32001, "Session.whoAmI", api=other)
        other.login("boss@north.example", "boss-pw").call("Session.whoAmI")
        self.double.control("remove boss@north.example")
        self.refused(-32001, "Session.whoAmI", api=other)

    def test_idle_sessions_end(self):
        self.start("--switch", "session-seconds=1")
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            self.call("Session.whoAmI")
            time.sleep(0.1)
        time.sleep(1.1)
        self.refused(-32001, "Session.whoAmI")

    def test_who_am_i(self):
        self.start()
        me = self.call("Session.whoAmI")["userDetails"]
        self.assertEqual((me["id"], me["domainId"], me["loginName"], me["effectiveRole"]["userRole"]), ("", "", "admin", "BuiltInAdmin"))
        me = self.login("boss@north.example", "boss-pw").call("Session.whoAmI")["userDetails"]
        self.assertEqual((me["domainId"], me["loginName"], me["effectiveRole"]["userRole"]), (self.ids["north.example"], "boss", "FullAdmin"))

    def test_auditor_reads_all_but_domains(self):
        self.start()
        self.double.control("set boss@north.example role Auditor")
        auditor = self.login("boss@north.example", "boss-pw")
        self.refused(1000, "Domains.get", {"query": QUERY}, auditor)
        self.refused(1004, "Domains.create", {"domains": [{"name": "x.example"}]}, auditor)
        self.refused(1004, "Users.create", {"users": [self.user("x")]}, auditor)
        auditor.call("Statistics.get")
        auditor.call("Users.get", {"query": QUERY, "domainId": self.ids["north.example"]})

    def test_account_admin_has_accounts_only(self):
        self.start()
        self.double.control("set boss@north.example role AccountAdmin")
        admin = self.login("boss@north.example", "boss-pw")
        for method, params in (("Domains.get", {"query": QUERY}), ("Services.get", None), ("AdvancedOptions.get", None)):
            self.refused(1004, method, params, admin)
        self.assertEqual(admin.call("Users.create", {"users": [self.user("x")]})["errors"], [])

    def test_guesses_block_the_service(self):
        self.start("--switch", "guess-block=3", "--switch", "guess-block-seconds=1")
        for _ in range(3):
            self.login_refused(-32000, "boss@north.example", "guess")
        self.login_refused(-32000, "boss@north.example", "boss-pw")
        self.login_refused(-32000, "admin", "admin-secret")
        self.call("Session.whoAmI")  # an open session stays
        time.sleep(1.1)
        self.login("boss@north.example", "boss-pw")
        hammering = self.call("SecurityPolicy.get")["options"]["antiHammering"]
        self.assertEqual((hammering["isEnabled"], hammering["failedLoginsToBlock"]), (True, 3))


class Shapes(Case):
    options = ["--domain", "north.example"]

    def test_unknown_methods_and_parameters(self):
        self.start()
        self.refused(-32601, "Users.getDetails", {})
        self.refused(-32601, "users.get", {})
        self.refused(-32602, "Domains.get", {})
        self.refused(-32602, "Domains.get", {"query": []})
        self.refused(-32602, "Domains.get", {"query": {}, "domainId": "x"})
        self.refused(-32602, "Users.get", {"query": {}})
        self.refused(-32602, "Server.getVersion", {"query": {}})
        self.refused(-32602, "Users.create", {"users": [self.user("bob")], "domainId": self.ids["north.example"]})
        self.refused(-32602, "Users.create", {"user": []})
        self.refused(-32602, "Users.set", {"ids": [], "pattern": {}})
        self.assertEqual(self.addresses(), [])

    def test_unknown_members_and_types(self):
        self.start()
        for more in ({"itemBox": 1}, {"isEnabled": "TRUE"}, {"fullName": 1}, {"emailAddresses": "robert"}, {"authType": 0},
                     {"authType": "Internal"}, {"role": "UserRole"}, {"role": {"userRole": "UserRole"}},
                     {"role": {"userRole": "BuiltInAdmin", "publicFolderRight": True, "archiveFolderRight": True}},
                     {"itemLimit": {"isActive": True}}, {"itemLimit": {"isActive": True, "limit": 1.5}},
                     {"diskSizeLimit": {"isActive": True, "limit": {"value": 1}}}, {"emailForwarding": {"mode": "UForwardNone"}},
                     {"cleanOutItems": {"autoDelete": {"isEnabled": True}}}):
            self.refused(-32602, "Users.create", {"users": [self.user("ann"), self.user("bob", **more)]})
        self.refused(-32602, "Domains.create", {"domains": [{"name": "x.example", "aliases": []}]})
        self.refused(-32602, "Aliases.create", {"aliases": [{"domainId": "x", "name": "a", "deliverTo": "b", "deliverToSelect": []}]})
        self.assertEqual(self.addresses(), [])

    def test_read_only_and_write_once(self):
        self.start()
        self.create(self.user("bob"))
        bob = self.double.dump()["users"][0]["id"]
        self.refused(-32602, "Users.create", {"users": [self.user("ann", id="keriodb://user/1/2")]})
        self.refused(-32602, "Users.create", {"users": [self.user("ann", consumedItems=0)]})
        for pattern in ({"id": bob}, {"loginName": "rob"}, {"domainId": self.ids["kerio.example"]}, {"consumedItems": 1}, {"hasDefaultSpamRule": True}):
            self.refused(-32602, "Users.set", {"userIds": [bob], "pattern": pattern})
        self.refused(-32602, "Domains.set", {"domainIds": [self.ids["north.example"]], "pattern": {"name": "south.example"}})
        self.refused(-32602, "Domains.create", {"domains": [{"name": "x.example", "isDistributed": False}]})

    def test_a_whole_user_is_taken_and_answered(self):
        self.start()
        sent = self.user("bob", fullName="Bob B.", description="d", isEnabled=True, itemSource="DSInternalSource", authType="UInternalAuth",
                         role={"userRole": "UserRole", "publicFolderRight": False, "archiveFolderRight": False}, emailAddresses=["robert", "b.b"],
                         hasDomainRestriction=False, publishInGal=False, allowPasswordChange=True, hasDefaultSpamRule=True,
                         itemLimit={"isActive": True, "limit": 7}, diskSizeLimit={"isActive": True, "limit": {"value": 3, "units": "GigaBytes"}},
                         emailForwarding={"mode": "UForwardDeliver", "emailAddresses": ["x@y.example"]},
                         cleanOutItems={"isUsedDomain": False, "autoDelete": {"isEnabled": True, "days": 90}},
                         accessPolicy={"id": "keriodb://accesspolicy/no-imap", "name": "ignored"})
        answer = self.create(sent)
        self.assertEqual(self.failed(answer, {}), [0])
        self.assertRegex(answer["result"][0]["id"], "^keriodb://user/" + self.ids["north.example"].rsplit("/", 1)[1] + "/[0-9a-f-]+$")
        got = self.call("Users.get", query={}, domainId=self.ids["north.example"])["list"][0]
        for name in set(sent) - {"password", "cleanOutItems", "accessPolicy", "hasDefaultSpamRule"}:
            self.assertEqual(got[name], sent[name], name)
        self.assertNotIn("password", got)
        self.assertEqual(got["cleanOutItems"]["autoDelete"], {"isEnabled": True, "days": 90})
        self.assertEqual(got["accessPolicy"], {"id": "keriodb://accesspolicy/no-imap", "name": "No IMAP"})
        self.assertTrue(self.double.dump()["users"][0]["imap_denied"])
        wanted = """id domainId loginName fullName description isEnabled itemSource authType isPasswordReversible allowPasswordChange role groupRole
            effectiveRole emailAddresses emailForwarding userGroups itemLimit diskSizeLimit consumedItems consumedSize hasDomainRestriction
            outMessageLimit publishInGal cleanOutItems accessPolicy lastLoginInfo homeServer migration companyContactId isWritableByMe""".split()
        self.assertEqual(set(wanted) - set(got), set())

    def test_a_whole_domain_is_answered(self):
        self.start()
        wanted = """id name description isPrimary userMaxCount passwordExpirationEnabled passwordExpirationDays passwordHistoryCount
            passwordComplexityEnabled passwordMinimumLength outgoingMessageLimit deletedItems junkEmail sentItems autoDelete keepForRecovery
            aliasList forwardingOptions service domainFooter kerberosRealm winNtName pamRealm ipAddressBind logo customClientLogo
            checkSpoofedSender renameInfo domainQuota isDistributed isDkimEnabled isLdapManagementAllowed isInstantMessagingEnabled
            useRemoteArchiveAddress remoteArchiveAddress archiveLocalMessages archiveIncomingMessages archiveOutgoingMessages
            archiveBeforeFilter""".split()
        for d in self.call("Domains.get", query={})["list"]:
            self.assertEqual(set(wanted), set(d))


class Domains(Case):
    options = ["--domain", "north.example=n.example"]

    def names(self):
        return {d["name"]: d["aliases"] for d in self.double.dump()["domains"]}

    def domains(self, *names):
        return self.call("Domains.create", domains=[n if isinstance(n, dict) else {"name": n} for n in names])

    def test_first_domain_is_primary(self):
        self.start("--primary", "first.example")
        self.domains("second.example")
        got = {d["name"]: d["isPrimary"] for d in self.call("Domains.get", query=QUERY)["list"]}
        self.assertEqual(got, {"first.example": True, "north.example": False, "second.example": False})

    def test_names(self):
        self.start()
        bad = ["a_b.example", ".a.example", "a.example.", "a..example", "bücher.example", "a b.example"]
        answer = self.domains("xn--bcher-kva.example", *bad, "a-1.example")
        self.assertEqual(self.failed(answer, {i: 1000 for i in range(1, 7)}), [0, 7])
        self.failed(self.domains({"description": "no name"}), {0: 1000})
        self.failed(self.domains({"name": "ok.example", "aliasList": ["not_ok.example"]}), {0: 1000})
        self.assertNotIn("ok.example", self.names())

    def test_names_and_aliases_are_unique_together(self):
        self.start()
        answer = self.domains("NORTH.example", "N.Example", {"name": "s.example", "aliasList": ["north.example"]}, {"name": "t.example", "aliasList": ["T.example"]},
                              {"name": "u.example", "aliasList": ["v.example", "V.example"]}, "w.example", "W.example", {"name": "y.example", "aliasList": ["w.example"]})
        self.assertEqual(self.failed(answer, {0: 1001, 1: 1001, 2: 1001, 3: 1001, 4: 1001, 6: 1001, 7: 1001}), [5])
        self.assertEqual(answer["errors"][0]["messageParameters"]["positionalParameters"], ["NORTH.example"])

    def test_duplicate_switch(self):
        self.start("--switch", "duplicate=1000")
        self.failed(self.domains("north.example"), {0: 1000})
        self.double.control("switch duplicate accept")
        self.failed(self.domains("north.example"), {0: 1001})
        self.double.control("switch duplicate toplevel")
        self.refused(1001, "Domains.create", {"domains": [{"name": "new.example"}, {"name": "north.example"}]})
        self.assertNotIn("new.example", self.names())

    def test_set_replaces_the_alias_list(self):
        self.start()
        id = self.ids["north.example"]
        set = lambda **pattern: self.call("Domains.set", domainIds=[id], pattern=pattern)
        self.assertEqual(set(aliasList=["a.example"]), {"errors": []})
        self.assertEqual(self.names()["north.example"], ["a.example"])
        set(description="x")
        self.assertEqual(self.names()["north.example"], ["a.example"])
        self.failed(set(aliasList=["a.example", "kerio.example"]), {0: 1001})
        self.failed(set(aliasList=["a_.example"]), {0: 1000})
        self.failed(set(aliasList=["north.example"]), {0: 1001})
        self.assertEqual(self.names()["north.example"], ["a.example"])
        self.failed(self.call("Domains.set", domainIds=["keriodb://domain/none", id], pattern={"description": "y"}), {0: 1002})
        self.assertEqual({d["description"] for d in self.double.dump()["domains"]}, {"", "y"})

    def test_clean_out_has_bounds(self):
        self.start()
        id = self.ids["north.example"]
        for days, codes in ((29, {0: 1000}), (30, {}), (24855, {}), (24856, {0: 1000})):
            self.failed(self.call("Domains.set", domainIds=[id], pattern={"autoDelete": {"isEnabled": True, "days": days}}), codes)

    def test_remove_needs_an_empty_domain_that_is_not_primary(self):
        self.start("--domain", "empty.example", "--domain", "used.example", "--user", "a@used.example=x")
        answer = self.call("Domains.remove", domainIds=[self.ids["kerio.example"], self.ids["empty.example"], self.ids["used.example"], "none"])
        self.failed(answer, {0: 1003, 2: 1003, 3: 1002})
        self.assertEqual(set(self.names()), {"kerio.example", "north.example", "used.example"})

    def test_generated_password_meets_the_policy(self):
        self.start()
        self.double.control("set north.example password_complexity on")
        self.double.control("set north.example password_minimum 20")
        password = self.call("Domains.generatePassword", domainId=self.ids["north.example"])["password"]
        self.assertNotEqual(password, self.call("Domains.generatePassword", domainId=self.ids["north.example"])["password"])
        self.failed(self.create(self.user("bob", password=password)), {})

    def test_settings_and_counts(self):
        self.start("--user", "a@north.example=x", "--user", "b@north.example=x", "--switch", "licence-users=9")
        self.double.control("set b@north.example enabled off")
        self.assertEqual(set(self.call("Domains.getSettings")["setting"]), {"hostname", "publicFoldersPerDomain", "serverId"})
        count = lambda: self.call("Domains.getUserCountInfo", domainId=self.ids["north.example"])["countInfo"]
        self.assertEqual(count(), {"currentUsers": 1, "allowedUsers": {"isUnlimited": False, "allowedUsers": 9, "limit": 9, "limitType": "LicenseLimit"}})
        self.double.control("set north.example user_max 4")
        self.assertEqual(count()["allowedUsers"]["limitType"], "DomainLimit")


class Users(Case):
    options = ["--domain", "north.example=n.example", "--domain", "south.example"]

    def test_failing_items_are_rejected_whole_and_others_applied(self):
        self.start()
        answer = self.create(self.user("ann"), self.user("a b"), self.user("bob", emailAddresses=["rob", "ann"]), self.user("cy", emailAddresses=["c.y"]))
        self.assertEqual(self.failed(answer, {1: 1000, 2: 1001}), [0, 3])
        self.assertEqual(self.addresses(), ["ann@north.example", "cy@north.example"])

    def test_required_fields(self):
        self.start()
        no_login, no_domain, no_password = self.user("a"), self.user("b"), self.user("c")
        del no_login["loginName"], no_domain["domainId"], no_password["password"]
        nowhere = {**self.user("d"), "domainId": "keriodb://domain/none"}
        self.failed(self.create(no_login, no_domain, no_password, nowhere, self.user("")), {0: 1000, 1: 1000, 2: 1000, 3: 1002, 4: 1000})

    def test_login_names(self):
        self.start()
        bad = ["a b", "müller", "a+b", "a@b", "a/b", "anyone", "AuthUser", ".a", "a."]
        good = ["a.b-c_d", "Bob", "007"]
        self.assertEqual(self.failed(self.create(*map(self.user, bad + good)), {i: 1000 for i in range(len(bad))}), [9, 10, 11])
        self.failed(self.create(self.user("x", emailAddresses=["Upper"]), self.user("y", emailAddresses=["st*r"])), {0: 1000, 1: 1000})
        self.double.control("switch invalid-code 8001")
        self.failed(self.create(self.user("a b")), {0: 8001})

    def test_names_collide_without_case_with_logins_addresses_and_aliases_of_the_domain(self):
        self.start("--user", "bob@north.example=x")
        self.double.control("set bob@north.example addresses robert")
        self.double.control("alias sales@north.example=bob@north.example")
        answer = self.create(self.user("BOB"), self.user("Robert"), self.user("Sales"), self.user("d", emailAddresses=["bob"]),
                             self.user("e", emailAddresses=["sales"]), self.user("f", emailAddresses=["f"]), self.user("g", emailAddresses=["x", "x"]),
                             self.user("bob", "south.example"), self.user("h"), self.user("h"))
        self.assertEqual(self.failed(answer, {**{i: 1001 for i in range(7)}, 9: 1001}), [7, 8])

    def test_duplicate_switch(self):
        self.start("--user", "bob@north.example=x", "--switch", "duplicate=1000")
        self.double.control("alias sales@north.example=bob@north.example")
        self.failed(self.create(self.user("bob")), {0: 1000})
        self.double.control("switch duplicate accept")
        self.failed(self.create(self.user("bob"), self.user("sales"), self.user("x", emailAddresses=["bob"])), {0: 1001})
        self.double.control("switch duplicate toplevel")
        e = self.refused(1001, "Users.create", {"users": [self.user("new"), self.user("bob")]})
        self.assertEqual(e.error["data"]["messageParameters"]["positionalParameters"], ["bob"])
        self.assertNotIn("new@north.example", self.addresses())

    def test_password_policy(self):
        self.start()
        weak = [self.user("bob", password=p, fullName="Bob van Tannen") for p in ("Sh0rt", "alllowercaseletters", "lower-and-minus", "xX1-Bob-xX1", "xX1-tannen-xX1", "xX1-VAN-xX1", "North.Example-1")]
        self.failed(self.create(*[{**w, "loginName": f"free{i}"} for i, w in enumerate(weak)]), {})
        self.double.control("set north.example password_complexity on")
        self.failed(self.create(*weak), {i: 1000 for i in range(len(weak))})
        self.failed(self.create(self.user("bob", password="Abcdef1-", fullName="Bob de T")), {})
        self.double.control("set north.example password_minimum 9")
        self.failed(self.create(self.user("ann", password="Abcdef1-")), {0: 1000})
        # Also when it is set; an account that has an old one may be changed otherwise.
        id = self.call("Users.get", query={}, domainId=self.ids["north.example"])["list"][0]["id"]
        self.failed(self.call("Users.set", userIds=[id], pattern={"password": "short"}), {0: 1000})
        self.failed(self.call("Users.set", userIds=[id], pattern={"fullName": "New"}), {})

    def test_licence_counts_enabled_users(self):
        self.start("--switch", "licence-users=2")
        answer = self.create(self.user("a"), self.user("off", isEnabled=False), self.user("b"), self.user("c"), self.user("off2", isEnabled=False))
        self.assertEqual(self.failed(answer, {3: 1003}), [0, 1, 2, 4])
        off = [u["id"] for u in self.double.dump()["users"] if u["login"] == "off"]
        self.failed(self.call("Users.set", userIds=off, pattern={"isEnabled": True}), {0: 1003})
        self.assertEqual(self.call("ProductRegistration.getFullStatus")["status"]["users"], 2)
        self.double.control("switch licence-users -1")
        self.assertEqual(self.call("ProductRegistration.getFullStatus")["status"]["users"], -2)
        self.failed(self.create(self.user("c")), {})
        self.assertEqual(self.call("Users.getMailboxCount")["count"], {"active": 3, "total": 5})

    def test_maximum_of_a_domain(self):
        self.start()
        self.failed(self.call("Domains.set", domainIds=[self.ids["north.example"]], pattern={"userMaxCount": 1}), {})
        self.failed(self.create(self.user("a"), self.user("b"), self.user("b", "south.example")), {1: 1003})

    def test_set_changes_only_what_is_named_and_replaces_lists(self):
        self.start()
        self.create(self.user("bob", fullName="Bob", emailAddresses=["robert", "b.b"]), self.user("ann"))
        bob, ann = (u["id"] for u in self.double.dump()["users"])
        self.assertEqual(self.call("Users.set", userIds=[bob], pattern={"emailAddresses": ["bobby"]}), {"errors": []})
        got = self.double.dump()["users"][0]
        self.assertEqual((got["full_name"], got["addresses"]), ("Bob", ["bobby"]))
        self.failed(self.call("Users.set", userIds=[ann, "none", bob], pattern={"emailAddresses": ["bobby"]}), {0: 1001, 1: 1002})

    def test_remove(self):
        self.start()
        self.create(self.user("bob"), self.user("ann"))
        self.double.control("alias sales@north.example=bob@north.example")
        bob, ann = (u["id"] for u in self.double.dump()["users"])
        request = {"userId": bob, "method": "UDeleteFolder", "removeReferences": True, "targetUserId": "", "mode": "DSModeDelete"}
        self.refused(-32602, "Users.remove", {"requests": [{"userId": bob}]})
        self.refused(-32602, "Users.remove", {"requests": [{**request, "method": "Delete"}]})
        self.failed(self.call("Users.remove", requests=[request, {**request, "userId": "none"}, {**request, "userId": ann, "mode": "DSModeDeactivate"}]), {1: 1002})
        dump = self.double.dump()
        self.assertEqual([(u["login"], u["enabled"]) for u in dump["users"]], [("ann", False)])
        self.assertEqual(dump["aliases"], [])

    def test_passwd_file_of_dovecot(self):
        dir = Path(tempfile.mkdtemp(prefix="4d2kms-kerio-"))
        self.addCleanup(shutil.rmtree, dir)
        (dir / "passwd").write_text("stale\n")
        self.start("--passwd", str(dir / "passwd"), "--user", "a@north.example=pä:ss")
        lines = lambda: (dir / "passwd").read_text().splitlines()
        self.assertEqual(lines(), ["a@north.example:{PLAIN.B64}cMOkOnNz"])
        self.assertEqual((dir / "passwd").stat().st_mode & 0o777, 0o644)
        self.create(self.user("bob", password="x"))
        self.assertEqual(lines()[1], "bob@north.example:{PLAIN.B64}eA==")
        bob = self.double.dump()["users"][1]["id"]
        self.call("Users.set", userIds=[bob], pattern={"password": "yy"})
        self.assertEqual(lines()[1], "bob@north.example:{PLAIN.B64}eXk=")
        self.double.control("remove a@north.example")
        self.assertEqual(len(lines()), 1)

    def test_consumed_items_are_those_on_disk(self):
        dir = Path(tempfile.mkdtemp(prefix="4d2kms-kerio-"))
        self.addCleanup(shutil.rmtree, dir)
        for folder in ("cur", "new", "tmp", ".Sent/cur"):
            (dir / "bob@north.example" / "Maildir" / folder).mkdir(parents=True)
            (dir / "bob@north.example" / "Maildir" / folder / "m").write_text("x" * 100)
        self.start("--mail-root", str(dir), "--user", "bob@north.example=x")
        got = self.call("Users.get", query={"fields": ["consumedItems", "consumedSize", "id"]}, domainId=self.ids["north.example"])["list"][0]
        self.assertEqual((got["consumedItems"], got["consumedSize"]), (3, {"value": 300, "units": "Bytes"}))
        stats = self.call("Users.getStatistics", userIds=[got["id"]], query=QUERY)["list"][0]
        self.assertEqual((stats["name"], stats["occupiedSpace"]), ("bob", {"items": 3, "storage": {"value": 300, "units": "Bytes"}}))
        self.assertEqual(stats["imap"], {"count": 0, "lastLogin": ""})
        quotas = [d["domainQuota"]["consumedSize"]["value"] for d in self.call("Domains.get", query=QUERY)["list"]]
        self.assertEqual(quotas, [0, 300, 0])


class AliasesAndGroups(Case):
    options = ["--domain", "north.example=n.example", "--user", "bob@north.example=x", "--user", "ann@kerio.example=x"]

    def alias(self, name, target, **more):
        return {"domainId": self.ids["north.example"], "name": name, "deliverTo": target, **more}

    def test_create(self):
        self.start()
        whole = self.alias("sales", "bob@north.example", deliverToId="", type="TypeEmailAddress", description="d")
        answer = self.call("Aliases.create", aliases=[whole, self.alias("SALES2", "bob"), self.alias("a b", "bob"), self.alias("bob", "ann@kerio.example"),
                                                      self.alias("sales", "bob"), self.alias("x", ""), self.alias("info*", "bob"),
                                                      self.alias("pub", "Folder", type="TypePublicFolder")])
        self.assertEqual(self.failed(answer, {1: 1000, 2: 1000, 3: 1001, 4: 1001, 5: 1000, 7: 1002}), [0, 6])
        got = self.call("Aliases.get", query=QUERY, domainId=self.ids["north.example"])
        self.assertEqual(got["totalItems"], 2)
        self.assertEqual({k: got["list"][0][k] for k in whole}, whole)
        self.double.control("switch duplicate accept")
        self.failed(self.call("Aliases.create", aliases=[self.alias("sales", "ann@kerio.example")]), {})
        self.assertEqual(sorted(self.call("Aliases.check", checkString="sales@north.example")["result"]), ["ann@kerio.example", "bob@north.example"])

    def test_set_and_remove(self):
        self.start()
        id = self.call("Aliases.create", aliases=[self.alias("sales", "bob@north.example")])["result"][0]["id"]
        self.failed(self.call("Aliases.set", aliasIds=[id], pattern={"deliverTo": "ann@kerio.example"}), {})
        self.assertEqual(self.call("Aliases.check", checkString="sales@n.example")["result"], ["ann@kerio.example"])
        self.refused(-32602, "Aliases.set", {"aliasIds": [id], "pattern": {"domainId": "x"}})
        self.failed(self.call("Aliases.set", aliasIds=[id], pattern={"name": "bob"}), {0: 1001})
        self.failed(self.call("Aliases.remove", aliasIds=["none", id]), {0: 1002})
        self.assertEqual(self.double.dump()["aliases"], [])

    def test_check_expands(self):
        self.start()
        self.double.control("set bob@north.example addresses robert")
        for spec in ("one@north.example=two", "two@north.example=bob@n.example", "loop@north.example=loop", "out@north.example=x@elsewhere.example", "any*@north.example=bob"):
            self.double.control("alias " + spec)
        expand = lambda s: self.call("Aliases.check", checkString=s)["result"]
        bob = ["bob@north.example"]
        for address in ("bob@north.example", "BOB@N.example", "robert@n.example", "one@n.example", "anything@north.example"):
            self.assertEqual(expand(address), bob, address)
        self.assertEqual(expand("ann"), ["ann@kerio.example"])
        self.assertEqual(expand("out@north.example"), ["x@elsewhere.example"])
        for address in ("loop@north.example", "nobody@north.example", "x@elsewhere.example"):
            self.assertEqual(expand(address), [], address)

    def test_groups_and_lists(self):
        self.start()
        group = {"domainId": self.ids["north.example"], "name": "team", "emailAddresses": ["team"], "role": "UserRole", "hasDomainRestriction": False, "description": "", "publishInGal": True}
        answer = self.call("Groups.create", groups=[group, {**group, "emailAddresses": ["bob"]}])
        self.assertEqual(self.failed(answer, {1: 1001}), [0])
        self.refused(-32602, "Groups.create", {"groups": [{**group, "role": {"userRole": "UserRole"}}]})
        self.assertEqual(self.call("Groups.get", query=QUERY, domainId=self.ids["north.example"])["list"][0]["name"], "team")
        self.failed(self.create(self.user("team")), {0: 1001})
        self.assertEqual(self.call("MailingLists.get", query=QUERY, domainId=self.ids["north.example"]), {"list": [], "totalItems": 0})

    def test_find_entity_by_email(self):
        self.start()
        self.double.control("alias sales@north.example=bob")
        bob = next(u["id"] for u in self.double.dump()["users"] if u["login"] == "bob")
        find = lambda id: [(e["kind"], e["name"], e["collisionAddress"], e["isPattern"]) for e in self.call(
            "Server.findEntityByEmail", addresses=["bob", "sales", "free"], updatedEntity={"kind": "EntityUser", "id": id}, domainId=self.ids["north.example"])["entities"]]
        self.assertEqual(find(""), [("EntityUser", "bob", "bob", False), ("EntityAlias", "sales", "sales", False)])
        self.assertEqual(find(bob)[0], ("EntityUser", "bob", "bob", True))


class Queries(Case):
    options = ["--domain", "north.example"]

    def start(self, *options):
        super().start(*options)
        names = [("dora", "Anna Zed", True), ("Carl", "Bert Young", False), ("bob", "bert old", True), ("ann", "Dora Smith", True)]
        self.failed(self.create(*[self.user(l, fullName=f, isEnabled=e) for l, f, e in names]), {})

    def where(self, field, comparator, value, *more, **query):
        return self.logins(conditions=[{"fieldName": field, "comparator": comparator, "value": value}, *more], **query)

    def test_comparators(self):
        self.start()
        self.assertEqual(self.where("loginName", "Eq", "CARL"), ["Carl"])
        self.assertEqual(self.where("loginName", "NotEq", "carl"), ["dora", "bob", "ann"])
        self.assertEqual(self.where("loginName", "LessThan", "bob"), ["ann"])
        self.assertEqual(self.where("loginName", "LessEq", "bob"), ["bob", "ann"])
        self.assertEqual(self.where("loginName", "GreaterThan", "carl"), ["dora"])
        self.assertEqual(self.where("loginName", "GreaterEq", "carl"), ["dora", "Carl"])
        self.assertEqual(self.where("fullName", "Like", "bert"), ["Carl", "bob"])
        self.assertEqual(self.where("fullName", "Like", "%old"), ["bob"])
        self.assertEqual(self.where("fullName", "Like", "b%"), ["Carl", "bob"])
        self.assertEqual(self.where("isEnabled", "Eq", "FALSE"), ["Carl"])
        self.assertEqual(self.where("QUICKSEARCH", "Eq", "dora"), ["dora"])
        self.assertEqual(self.where("QUICKSEARCH", "Like", "dora%"), ["dora", "ann"])
        self.assertEqual(self.where("QUICKSEARCH", "NotEq", "dora"), ["Carl", "bob", "ann"])

    def test_combining(self):
        self.start()
        other = {"fieldName": "isEnabled", "comparator": "Eq", "value": "TRUE"}
        self.assertEqual(self.where("fullName", "Like", "b%", other, combining="And"), ["bob"])
        self.assertEqual(self.where("loginName", "Eq", "carl", other, combining="Or"), ["dora", "Carl", "bob", "ann"])
        source = {"fieldName": "itemSource", "comparator": "Eq", "value": "DSInternalSource"}
        with self.assertRaises(ApiError) as caught:
            self.where("loginName", "Eq", "carl", source, combining="Or")
        self.assertEqual(caught.exception.code, -32602)
        self.assertEqual(self.where("loginName", "Eq", "carl", source, combining="And"), ["Carl"])

    def test_order_and_pages(self):
        self.start()
        order = lambda **o: [{"columnName": "loginName", "direction": "Asc", "caseSensitive": False, **o}]
        self.assertEqual(self.logins(orderBy=order()), ["ann", "bob", "Carl", "dora"])
        self.assertEqual(self.logins(orderBy=order(caseSensitive=True)), ["Carl", "ann", "bob", "dora"])
        self.assertEqual(self.logins(orderBy=order(direction="Desc")), ["dora", "Carl", "bob", "ann"])
        page = self.call("Users.get", query={**QUERY, "orderBy": order(), "start": 1, "limit": 2}, domainId=self.ids["north.example"])
        self.assertEqual(([u["loginName"] for u in page["list"]], page["totalItems"]), (["bob", "Carl"], 4))
        self.assertEqual(self.logins(start=4), [])
        self.double.control("switch page-cap 3")
        page = self.call("Users.get", query=QUERY, domainId=self.ids["north.example"])
        self.assertEqual((len(page["list"]), page["totalItems"]), (3, 4))

    def test_fields(self):
        self.start()
        got = self.call("Users.get", query={"fields": ["loginName", "id"], "limit": 1}, domainId=self.ids["north.example"])["list"][0]
        self.assertEqual(set(got), {"loginName", "id"})
        self.assertEqual(set(self.call("Domains.get", query={"fields": ["name"]})["list"][0]), {"name"})

    def test_mistakes(self):
        self.start()
        condition = {"fieldName": "loginName", "comparator": "Eq", "value": "x"}
        for query in ({"fields": ["login"]}, {"conditions": [{**condition, "fieldName": "name"}]}, {"conditions": [{**condition, "comparator": "="}]},
                      {"conditions": [{**condition, "value": True}]}, {"conditions": [{"fieldName": "loginName", "value": "x"}]}, {"combining": "Xor"},
                      {"start": -1}, {"limit": -2}, {"limit": "5"}, {"where": []}, {"orderBy": [{"columnName": "loginName", "direction": "Up"}]},
                      {"conditions": [{**condition, "fieldName": "isWritableByMe"}]}, {"conditions": [{**condition, "fieldName": "password"}]}):
            self.refused(-32602, "Users.get", {"query": query, "domainId": self.ids["north.example"]})
        quick = {**condition, "fieldName": "QUICKSEARCH"}
        self.refused(-32602, "Domains.get", {"query": {"conditions": [quick]}})

    def test_full_query_switch(self):
        self.start("--switch", "full-query=on")
        self.refused(-32602, "Domains.get", {"query": {}})
        self.refused(-32602, "Domains.get", {"query": {k: v for k, v in QUERY.items() if k != "combining"}})
        self.call("Domains.get", query=QUERY)


class Preflight(Case):
    options = ["--domain", "north.example"]

    def test_versions(self):
        self.start("--switch", "version=9.4.2 patch 1", "--switch", "os=Mac OS X")
        got = self.call("Server.getVersion")
        self.assertEqual([got[k] for k in ("product", "major", "minor", "revision")], ["Kerio Connect", 9, 4, 2])
        info = self.call("Server.getProductInfo")["info"]
        self.assertEqual((info["version"], info["os"], info["osName"]), ("9.4.2 patch 1", "MacOs", "Mac OS X"))
        self.assertIsInstance(self.call("Version.getApiVersion")["apiVersion"], int)

    def test_services(self):
        self.start()
        get = lambda: {s["name"]: s for s in self.call("Services.get")["services"]}
        self.assertEqual(len(get()), 15)
        self.assertFalse(get()["IMAP"]["isRunning"])  # no Dovecot, no IMAP
        self.assertTrue(get()["Secure SMTP"]["isRunning"])
        self.assertEqual(set(get()["IMAP"]), {"id", "name", "howToStart", "listeners", "group", "connectionLimit", "defaultPort", "isRunning", "anonymousAccess"})

    def test_store(self):
        self.start("--switch", "store-free-percent=7", "--switch", f"watchdog-hard-limit={5 << 30}")
        storage = self.call("Statistics.get")["statistics"]["storage"]
        self.assertEqual((storage["percentage"], storage["total"]["units"]), ("93", "MegaBytes"))
        self.assertEqual([a["alertName"] for a in self.call("Server.getAlertList")["alerts"]], ["StorageSpaceLow"])
        store = self.call("AdvancedOptions.get")["options"]["storeDirectory"]
        self.assertEqual((store["watchdogHardLimit"], store["watchdogSoftLimit"]), ({"value": 5, "units": "GigaBytes"}, {"value": 0, "units": "Bytes"}))

    def test_licence(self):
        self.start()
        self.assertEqual(self.call("ProductRegistration.getFullStatus")["status"]["regType"], "rsProductRegistered")
        self.assertEqual(self.call("Server.getAlertList")["alerts"], [])
        self.double.control("switch mail-licence expired")
        self.assertEqual(self.call("ProductRegistration.getFullStatus")["status"]["expirations"][0]["remainingDays"], 0)
        self.assertEqual([a["alertName"] for a in self.call("Server.getAlertList")["alerts"]], ["LicenseExpired"])
        self.assertIn("serverSoftware", self.call("Server.getAboutInfo")["aboutInformation"])

    def test_master_authentication(self):
        self.start("--master-password", "m")
        master = lambda: self.call("AdvancedOptions.get")["options"]["masterAuthentication"]
        self.assertEqual(master(), {"isEnabled": True, "groupRestriction": ""})
        self.double.control("switch enable-master-api off")
        self.assertFalse(master()["isEnabled"])
        self.double.control("switch enable-master-api on")
        self.call("AdvancedOptions.set", options={"masterAuthentication": {"isEnabled": False, "groupRestriction": "", "password": ""}})
        self.assertFalse(master()["isEnabled"])

    def test_access_policies_and_the_rest(self):
        self.start()
        groups = self.call("AccessPolicy.getGroupList")["groups"]
        self.assertEqual([g["isDefault"] for g in groups], [True, False])
        rule = self.call("AccessPolicy.get", query=QUERY)["list"][0]
        self.assertEqual((rule["groupId"], rule["service"], rule["rule"]["type"]), (groups[1]["id"], "ServiceIMAP", "ServiceDenied"))
        self.assertEqual(self.call("Server.getConnections", query=QUERY), {"list": [], "totalItems": 0})
        now = self.call("Server.getServerTime")["info"]["currentTime"]
        self.assertLess(abs(now - time.time()), 60)
        self.assertIsInstance(self.call("Server.getNamedConstantList")["constants"], list)

    def test_batch_run(self):
        self.start()
        self.double.calls()
        commands = [{"method": "Users.create", "params": {"users": [self.user("bob")]}}, {"method": "Nobody.knows"}, {"method": "Session.whoAmI"}]
        got = self.call("Batch.run", commandList=commands)
        self.assertEqual([got[0]["result"]["errors"], got[1]["error"]["code"]], [[], -32601])
        self.assertEqual(self.double.calls(), [{"method": "Batch.run", "writes": True, "items": 3, "struck": ""}])


class FaultsAndControl(Case):
    options = ["--domain", "north.example"]

    def gone(self, method, **params):
        with self.assertRaises((http.client.HTTPException, OSError)):
            self.api.raw(method, params)

    def test_nth_call_over_the_life_of_the_double(self):
        self.start("--fault", "api Users.create 2 503")
        self.create(self.user("a"))
        self.refused("HTTP 503", "Users.create", {"users": [self.user("b")]})
        self.create(self.user("b"))
        self.assertEqual(self.addresses(), ["a@north.example", "b@north.example"])
        self.double.control("fault api * * 500")
        self.refused("HTTP 500", "Session.whoAmI")
        self.refused("HTTP 500", "Session.whoAmI")
        self.double.control("clear-faults")
        self.call("Session.whoAmI")

    def test_lost_is_carried_out_and_cut_is_not(self):
        self.start()
        self.double.control("fault api Users.create 1 lost")
        self.double.control("fault api Users.create 2 cut")
        self.gone("Users.create", users=[self.user("a")])
        self.gone("Users.create", users=[self.user("b")])
        self.assertEqual(self.addresses(), ["a@north.example"])
        self.failed(self.create(self.user("a")), {0: 1001})

    def test_other_kinds(self):
        self.start()
        for kind, code in (("502", "HTTP 502"), ("413", "HTTP 413"), ("redirect", "HTTP 302"), ("error:1004:No, %1.", 1004)):
            self.double.control(f"fault api Users.create 1 {kind}")
            e = self.refused(code, "Users.create", {"users": [self.user("a")]})
            self.double.control("clear-faults")
        self.assertEqual(e.message, "No, %1.")
        self.double.control("fault api Users.create 1 garbage")
        answer = self.api.raw("Users.create", {"users": [self.user("a")]})
        self.assertEqual(answer.status, 200)
        self.assertRaises(ValueError, answer.json)
        self.assertEqual(self.addresses(), [])

    def test_expired_ends_the_session(self):
        self.start()
        self.double.control("fault api Users.create 1 expired")
        self.refused(-32001, "Users.create", {"users": [self.user("a")]})
        self.refused(-32001, "Session.whoAmI")
        self.api.login()
        self.failed(self.create(self.user("a")), {})

    def test_item_fails_only_the_first(self):
        self.start()
        self.double.control("fault api Users.create 1 item:1003:Licence, %1: is full")
        answer = self.create(self.user("a"), self.user("b"))
        self.assertEqual(self.failed(answer, {0: 1003}), [1])
        self.assertEqual(answer["errors"][0]["message"], "Licence, %1: is full")
        self.double.control(f"fault api Domains.set 1 item:1000:x")
        self.failed(self.call("Domains.set", domainIds=[self.ids["north.example"]], pattern={"description": "d"}), {0: 1000})

    def test_freeze_leaves_others_alone(self):
        self.start()
        self.double.control("fault api Session.whoAmI 1 freeze")
        self.api.close()
        kerio_timeout, kerio.TIMEOUT = kerio.TIMEOUT, 0.5
        try:
            self.gone("Session.whoAmI")
        finally:
            kerio.TIMEOUT = kerio_timeout
        self.call("Session.whoAmI")

    def test_calls_are_recorded(self):
        self.start()
        self.double.calls()
        self.double.control("fault api Domains.set 1 error:1:x")
        self.create(self.user("a", password="never-shown"))
        self.refused(1, "Domains.set", {"domainIds": [], "pattern": {}})
        self.call("Users.get", query=QUERY, domainId=self.ids["north.example"])
        calls = self.double.calls()
        self.assertEqual([(c["method"], c["writes"], c["items"], c["struck"]) for c in calls],
                         [("Users.create", True, 1, ""), ("Domains.set", True, 0, "error"), ("Users.get", False, 0, "")])
        self.assertNotIn("never-shown", json.dumps(calls) + json.dumps(self.double.dump()))
        self.assertEqual(self.double.calls(), [])

    def test_control(self):
        self.start("--user", "bob@north.example=pw")
        for line, says in (("switch nothing 1", "no switch"), ("switch duplicate 7", "is one of"), ("switch session-seconds x", "is one of"),
                           ("fault api X 0 lost", "number"), ("fault api X 1 melt", "no fault"), ("fault api X 1 item:x:y", "CODE:TEXT"), ("fault x", "a fault is"),
                           ("fault imap APPEND 1 lost and found", "no fault"), ("dance", "no command"), ("domain north.example", "already exists"),
                           ("user x@nowhere.example=y", "no domain"), ("remove x@north.example", "no account"), ("set north.example colour red", "no field"),
                           ("set north.example user_max many", "number"), ("describe x@north.example d", "no account")):
            self.assertIn(says, self.double.control(line, check=False).get("error", ""), line)
        for line in ("domain new.example=a.example,b.example", "describe north.example our domain", "describe bob@north.example an account",
                     "alias s@north.example=bob@north.example", "describe s@north.example an alias", "set north.example auto_delete 90",
                     "set bob@north.example item_limit 5", "fault imap APPEND * no-then-done:No space left", "switch extensions UIDPLUS LITERAL+"):
            self.assertEqual(self.double.control(line), {"ok": True})
        dump = self.double.dump()
        self.assertEqual(dump["domains"][2]["aliases"], ["a.example", "b.example"])
        self.assertEqual((dump["domains"][1]["description"], dump["users"][0]["description"], dump["aliases"][0]["description"]), ("our domain", "an account", "an alias"))
        domain = self.call("Domains.get", query={"conditions": [{"fieldName": "name", "comparator": "Eq", "value": "north.example"}]})["list"][0]
        self.assertEqual(domain["autoDelete"], {"isEnabled": True, "days": 90})
        self.double.control("remove north.example")
        self.assertEqual(self.double.dump()["users"], [])

    def test_end_of_input_is_no_end(self):
        self.start()
        self.double.process.stdin.close()
        time.sleep(0.2)
        self.call("Session.whoAmI")
        self.assertIsNone(self.double.process.poll())

    def test_quit(self):
        self.start()
        self.assertEqual(self.double.control("quit"), {"ok": True})
        self.assertEqual(self.double.process.wait(10), 0)

    def test_log_file_names_no_secret(self):
        dir = Path(tempfile.mkdtemp(prefix="4d2kms-kerio-"))
        self.addCleanup(shutil.rmtree, dir)
        self.start("--log", str(dir / "log"))
        self.create(self.user("bob", password="never-shown"))
        text = (dir / "log").read_text()
        self.assertIn('"method":"Users.create"', text)
        self.assertNotIn("never-shown", text)

    def test_wrong_options_end_it_at_once(self):
        for options in (["--switch", "x=1"], ["--fault", "x"], ["--user", "a@b.example=c"], ["--cert", "/dev/null"], ["--nonsense"]):
            r = subprocess.run([kerio.binary(PROGRAM), *options], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=30)
            self.assertEqual(r.returncode, 2, options)
            self.assertNotEqual(r.stderr, b"")


class Paper(unittest.TestCase):
    def test_readme_has_the_table(self):
        table = subprocess.run([kerio.binary(PROGRAM), "--markdown"], stdout=subprocess.PIPE, text=True, check=True, timeout=30).stdout
        text = README.read_text()
        inside = re.search(r"<!-- kerio-double --markdown -->\n(.*)<!-- end -->", text, re.S)
        self.assertIsNotNone(inside)
        self.assertEqual(inside.group(1).strip(), table.strip(), "copy the output of kerio-double --markdown into README.md")

    def test_help_names_every_switch_and_fault(self):
        text = subprocess.run([kerio.binary(PROGRAM), "--help"], stdout=subprocess.PIPE, text=True, check=True, timeout=30).stdout
        for word in ("duplicate=1001", "imap-drop-after-commands=0", "no-then-done:", "--dovecot-master"):
            self.assertIn(word, text)


if __name__ == "__main__":
    sys.argv = [sys.argv[0], *sys.argv[2:]]  # further words: names of tests
    unittest.main(verbosity=2)
