"""The IMAP front of the Kerio double, against a real Dovecot: one test for each of its rules, switches and faults.

  test_kerio_front.py PROGRAM [tests]     kerio-double lies beside PROGRAM, or where KERIO_DOUBLE says"""
import base64, datetime, hashlib, itertools, re, select, shutil, socket, ssl, tempfile, threading, time, unittest
from pathlib import Path
import kerio, support
from support import FIXTURES, PROGRAM, run

FLAGS = r"\Deleted \Seen \Answered \Draft \Flagged $MDNSent $Forwarded $AutoJunk $AutoNotJunk $Junk $NotJunk"
MESSAGE = b"From: a@x.test\r\nSubject: one\r\n\r\nbody\r\n"
numbers = itertools.count(1)


class Closed(Exception):
    pass


class Client:
    """A raw IMAP client: what it sends is what the test says, what comes back is kept octet for octet."""

    def __init__(self, port, tls=False, greet=True):
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.tls.check_hostname, self.tls.verify_mode = False, ssl.CERT_NONE
        self.socket = socket.create_connection(("127.0.0.1", port), 60)
        if tls:
            self.socket = self.tls.wrap_socket(self.socket)
        self.input = self.socket.makefile("rb")
        self.tags = 0
        self.greeting = self.line() if greet else None

    def close(self):
        self.input.close()
        self.socket.close()

    def start_tls(self):
        answer = self.do("STARTTLS")
        self.input.close()
        self.socket = self.tls.wrap_socket(self.socket)
        self.input = self.socket.makefile("rb")
        return answer

    def send(self, octets):
        self.socket.sendall(octets if isinstance(octets, bytes) else octets.encode())

    def line(self):
        try:
            line = self.input.readline()
        except OSError as e:
            raise Closed(str(e))
        if not line.endswith(b"\n"):
            raise Closed(repr(line))
        return line.decode("latin-1").rstrip("\r\n")

    def closed(self):
        """Whether the connection ends now, whatever comes before."""
        try:
            while True:
                self.line()
        except Closed:
            return True

    def response(self):
        """A response; its literals stand in it as {n} and in self.literals."""
        text = self.line()
        while m := re.search(r"\{(\d+)\}$", text):
            octets = self.input.read(int(m[1]))
            if len(octets) < int(m[1]):
                raise Closed("in a literal")
            self.literals.append(octets)
            text += self.line()
        return text

    def until(self, tag):
        self.untagged, self.literals = [], []
        while True:
            r = self.response()
            if r.startswith(tag + " "):
                return r[len(tag) + 1:]
            self.untagged.append(r)

    def tag(self):
        self.tags += 1
        return f"a{self.tags}"

    def do(self, command):
        """The tagged answer, without its tag; untagged responses are in self.untagged."""
        tag = self.tag()
        self.send(f"{tag} {command}\r\n")
        return self.until(tag)

    def ok(self, command):
        answer = self.do(command)
        assert answer.startswith("OK"), f"{command}: {answer}"
        return self.untagged

    def literal(self, command, octets, more=""):
        """`command` with a synchronising literal; an answer that comes instead of + is the result."""
        tag = self.tag()
        self.send(f"{tag} {command} {{{len(octets)}}}\r\n")
        first = self.line()
        while first.startswith("* "):
            first = self.line()
        if not first.startswith("+"):
            return first[len(tag) + 1:]
        self.send(octets + more.encode() + b"\r\n")
        return self.until(tag)

    def append(self, mailbox="INBOX", octets=MESSAGE, flags=None, date=None):
        return self.literal(f'APPEND "{mailbox}"' + (f" ({flags})" if flags is not None else "") + (f' "{date}"' if date else ""), octets)

    def names(self):
        return [re.search(r'"/" (.*)$', r)[1] for r in self.ok('LIST "" "*"')]

    def count(self, mailbox="INBOX"):
        return int(re.search(r"MESSAGES (\d+)", self.ok(f'STATUS "{mailbox}" (MESSAGES)')[-1])[1])

    def flags(self, uid):
        self.ok(f"UID FETCH {uid} (FLAGS)")
        return set(re.search(r"FLAGS \((.*?)\)", self.untagged[0])[1].split()) - {"\\Recent"}


def start(directory, *options):
    return kerio.Double("--dovecot-port", (directory / "target.port").read_text().strip(), "--dovecot-master", "kerio", "--dovecot-password", "master-secret",
                        "--passwd", directory / "target.passwd", *options, program=PROGRAM)


def setUpModule():
    global SANDBOX
    SANDBOX = Path(tempfile.mkdtemp(prefix="kerio-front-"))
    SANDBOX.chmod(0o755)
    (SANDBOX / "target.users").write_text("")
    (SANDBOX / "target.masters").write_text("kerio\tmaster-secret\n")
    run(FIXTURES / "sandbox.sh", "start", SANDBOX, "target")


def tearDownModule():
    run(FIXTURES / "sandbox.sh", "stop", SANDBOX, "target", check=False)
    shutil.rmtree(SANDBOX, ignore_errors=True)


class Front(unittest.TestCase):
    options = ["--master-password", "mp"]

    def setUp(self):
        self.clients = []
        self.double = start(SANDBOX, *self.options)
        self.user = self.new_user()

    def tearDown(self):
        for c in self.clients:
            c.close()
        self.assertIn(self.double.stop(), (0, -15), "the double did not end well")

    def new_user(self):
        # Dovecot tells versions of its passwd-file apart by seconds and octets: no two names of the same length.
        n = next(numbers)
        user = f"u{n}{'x' * n}@kerio.example"
        self.tell(f"user {user}=secret")
        return user

    def tell(self, line):
        return self.double.control(line)

    def switch(self, name, value):
        self.tell(f"switch {name} {value}")

    def client(self, tls=False, **more):
        self.clients.append(Client(self.double.imaps_port if tls else self.double.imap_port, tls, **more))
        return self.clients[-1]

    def login(self, user=None, select=None):
        c = self.client()
        c.ok(f'LOGIN {user or self.user} "secret"')
        if select:
            c.ok(f'SELECT "{select}"')
        return c

    def assertOk(self, answer):
        self.assertRegex(answer, "^OK")

    def assertNo(self, answer):
        self.assertRegex(answer, "^NO ")

    def assertBad(self, answer):
        self.assertRegex(answer, "^BAD ")


class BeforeLogin(Front):
    def test_greeting_and_id_tell_the_version_unless_it_is_hidden(self):
        c = self.client()
        self.assertEqual(c.greeting, "* OK Kerio Connect 10.0.8 IMAP4rev1 server ready")
        self.assertEqual(c.ok('ID ("name" "test")'), ['* ID ("name" "Kerio Connect" "version" "10.0.8")'])
        self.switch("hidden-version", "on")
        c = self.client()
        self.assertEqual(c.greeting, "* OK IMAP4rev1 server ready")
        self.assertEqual(c.ok("ID NIL"), ['* ID ("name" "Kerio Connect")'])

    def test_commands_that_need_no_log_in(self):
        c = self.client()
        capabilities = c.ok("CAPABILITY")[0].split()[2:]
        self.assertEqual(set(capabilities), {"IMAP4rev1", "NAMESPACE", "SPECIAL-USE", "ID", "CHILDREN", "STARTTLS", "AUTH=PLAIN"})
        self.assertEqual(c.ok("NOOP"), [])
        self.assertBad(c.do('SELECT "INBOX"'))
        self.assertEqual(c.do("FROB x"), "BAD Unknown command 'FROB'")
        c.send("\r\n")
        self.assertEqual(c.line(), " BAD Unknown command ''")
        c.send("GET / HTTP/1.0\r\n")
        self.assertEqual(c.line(), "GET BAD Unknown command '/'")
        self.assertTrue(c.ok("LOGOUT")[0].startswith("* BYE"))
        self.assertTrue(c.closed())

    def test_log_in_in_every_form(self):
        short = self.user.split("@")[0]
        for command in (f"LOGIN {self.user} secret", f'LOGIN "{self.user}" "secret"', f"login {short} secret", f"LOGIN {self.user.upper()} secret"):
            self.assertOk(self.client().do(command))
        c = self.client()
        c.send(f"x LOGIN {{{len(self.user)}}}\r\n")
        self.assertTrue(c.line().startswith("+"))
        c.send(self.user + " {6}\r\n")
        self.assertTrue(c.line().startswith("+"))
        c.send("secret\r\n")
        self.assertOk(c.until("x"))
        plain = base64.b64encode(f"\0{self.user}\0secret".encode()).decode()
        self.assertOk(self.client().do(f"AUTHENTICATE PLAIN {plain}"))
        c = self.client()
        c.send("x AUTHENTICATE PLAIN\r\n")
        self.assertTrue(c.line().startswith("+"))
        c.send(plain + "\r\n")
        self.assertOk(c.until("x"))
        self.assertBad(c.do(f"LOGIN {self.user} secret"))

    def test_log_ins_that_are_refused(self):
        self.tell("domain alias.example=other.example")
        self.switch("guess-block", "100")
        c = self.client()
        for command in (f"LOGIN {self.user} wrong", "LOGIN nobody secret", "LOGIN nobody@kerio.example secret", "AUTHENTICATE PLAIN " + base64.b64encode(f"\0{self.user}\0x".encode()).decode(),
                        "AUTHENTICATE PLAIN " + base64.b64encode(f"other\0{self.user}\0secret".encode()).decode()):
            self.assertNo(c.do(command))
        self.tell("user bob@alias.example=secret")
        self.assertNo(c.do("LOGIN bob@other.example secret"))
        self.assertBad(c.do("AUTHENTICATE CRAM-MD5"))
        for field in ("enabled off", "imap_denied on"):
            user = self.new_user()
            self.assertOk(self.client().do(f"LOGIN {user} secret"))
            self.tell(f"set {user} {field}")
            self.assertNo(c.do(f"LOGIN {user} secret"))
        self.assertBad(c.do("LOGIN onlyuser"))
        self.assertBad(c.do("AUTHENTICATE PLAIN !!!"))
        self.assertOk(c.do("LOGIN bob@alias.example secret"))

    def test_starttls_and_imaps(self):
        c = self.client()
        self.assertOk(c.start_tls())
        self.assertNotIn("STARTTLS", c.ok("CAPABILITY")[0])
        self.assertBad(c.do("STARTTLS"))
        c.ok(f"LOGIN {self.user} secret")
        self.assertOk(c.append())
        c = self.client(tls=True)
        self.assertTrue(c.greeting.startswith("* OK Kerio"))
        c.ok(f"LOGIN {self.user} secret")
        self.assertIn("* 1 EXISTS", c.ok('SELECT "INBOX"'))
        c.ok("LOGOUT")

    def test_what_was_sent_in_the_clear_is_not_read_as_sent_under_tls(self):
        c = self.client()
        c.send(f"x STARTTLS\r\ny LOGIN {self.user} secret\r\n")
        self.assertOk(c.until("x"))
        c.input.close()
        c.socket = c.tls.wrap_socket(c.socket)
        c.input = c.socket.makefile("rb")
        self.assertOk(c.do("NOOP"))
        self.assertBad(c.do('SELECT "INBOX"'))

    def challenge(self, c, password):
        c.send("m X-MASTERAUTH\r\n")
        text = c.line()
        self.assertTrue(text.startswith("+ "), text)
        c.send(hashlib.md5((text[2:].strip() + password).encode()).hexdigest() + "\r\n")
        return c.line()

    def test_master_authentication(self):
        for quote in ("", '"'):
            c = self.client(tls=True)
            self.assertEqual(self.challenge(c, "mp"), "m OK X-MASTERAUTH Welcome to server, master")
            self.assertNo(c.do("X-SETUSER nobody@kerio.example"))
            self.assertEqual(c.do(f"X-SETUSER {quote}{self.user}{quote}"), "OK X-SETUSER completed")
            self.assertOk(c.append())
            self.assertNo(c.do(f"X-SETUSER {self.user}"))
        self.assertEqual(self.login(select="INBOX").do("NOOP")[:2], "OK")

    def test_master_authentication_that_fails(self):
        c = self.client()
        self.assertEqual(self.challenge(c, "wrong"), "m NO X-MASTERAUTH failed")
        self.assertNo(c.do(f"X-SETUSER {self.user}"))

    def test_x_setuser_may_be_repeated_if_the_switch_says_so(self):
        self.switch("setuser-repeat", "on")
        other = self.new_user()
        c = self.client()
        self.challenge(c, "mp")
        c.ok(f"X-SETUSER {self.user}")
        self.assertOk(c.append())
        c.ok(f"X-SETUSER {other}")
        self.assertIn("* 0 EXISTS", c.ok('SELECT "INBOX"'))

    def test_guess_protection(self):
        self.switch("guess-block", "2")
        self.switch("guess-block-seconds", "1")
        c = self.client()
        for _ in range(2):
            self.assertNo(c.do(f"LOGIN {self.user} wrong"))
        self.assertNo(c.do(f"LOGIN {self.user} secret"))
        self.assertNo(self.client().do(f"LOGIN {self.user} secret"))
        time.sleep(1.2)
        self.assertOk(c.do(f"LOGIN {self.user} secret"))

    def test_a_new_account_is_not_visible_at_once(self):
        self.switch("visible-after-ms", "600")
        user = self.new_user()
        c = self.client()
        self.assertNo(c.do(f"LOGIN {user} secret"))
        time.sleep(0.7)
        self.assertOk(c.do(f"LOGIN {user} secret"))

    def test_an_expired_licence_says_bye(self):
        self.switch("mail-licence", "expired")
        c = self.client()
        self.assertTrue(c.greeting.startswith("* BYE"))
        self.assertTrue(c.closed())

    def test_stopped_services(self):
        self.switch("services", "imap-off")
        for tls in (False, True):
            with self.assertRaises((Closed, OSError)):
                self.client(tls=tls)
        self.switch("services", "custom")
        with self.assertRaises((Closed, OSError)):
            self.client()
        self.client(tls=True)

    def test_bounds(self):
        c = self.client()
        c.send("x NOOP " + "y" * (70 << 10) + "\r\n")
        self.assertTrue(c.line().startswith("* BYE"))
        self.assertTrue(c.closed())
        c = self.client()
        self.assertBad(c.do("LOGIN {9000}"))
        self.assertOk(c.do("NOOP"))


class Mailboxes(Front):
    def test_special_mailboxes_are_there_from_the_first_log_in(self):
        c = self.login()
        expected = ['* LIST (\\Inbox \\HasNoChildren) "/" "INBOX"', '* LIST (\\Trash \\HasNoChildren) "/" "Deleted Items"', '* LIST (\\Drafts \\HasNoChildren) "/" "Drafts"',
                    '* LIST (\\Junk \\HasNoChildren) "/" "Junk E-mail"', '* LIST (\\Sent \\HasNoChildren) "/" "Sent Items"', '* LIST (\\Noselect) "/" "Public Folders"']
        self.assertEqual(sorted(c.ok('LIST "" "*"')), sorted(expected))
        self.assertEqual(sorted(c.ok('LIST (SPECIAL-USE) "" "*"')), sorted(e for e in expected if "INBOX" not in e and "Public" not in e))
        self.assertEqual(len(c.ok('LSUB "" "*"')), 4)
        self.assertEqual(c.ok('LIST "" ""'), ['* LIST (\\Noselect) "/" ""'])
        self.assertEqual(c.ok('LIST "" "Pub%"'), [expected[-1]])
        self.assertEqual(c.ok('LIST "" "Dra*"'), [expected[2]])
        self.switch("extensions", "ID")
        self.assertIn('* LIST () "/" "Drafts"', c.ok('LIST "" "*"'))
        self.assertBad(c.do('LIST (SPECIAL-USE) "" "*"'))

    def test_a_reference_must_be_quoted(self):
        c = self.login()
        for command in ("LIST INBOX *", "LIST  *", "LIST", 'LIST "*"', "LSUB x *"):
            self.assertBad(c.do(command))
        self.assertOk(c.do('LIST "" *'))

    def test_names_are_quoted_and_escaped(self):
        c = self.login()
        name = 'a \\"b\\\\ (c) {1} &AOQ-'
        c.ok(f'CREATE "{name}"')
        self.assertIn(f'"{name}"', c.names())
        self.assertOk(c.append(name))
        self.assertOk(c.literal('SELECT', name.replace("\\\\", "\0").replace("\\", "").replace("\0", "\\").encode()))
        self.assertIn("* 1 EXISTS", c.untagged)
        self.assertOk(c.do(f'STATUS "{name}" (MESSAGES)'))

    def test_special_mailboxes_stay(self):
        c = self.login()
        for name in ("Deleted Items", "drafts", "Junk E-mail", "Sent Items", "INBOX", "Public Folders"):
            self.assertNo(c.do(f'DELETE "{name}"'))
            self.assertNo(c.do(f'RENAME "{name}" "x"'))
        c.ok('CREATE "Drafts/below"')
        c.ok('RENAME "Drafts/below" "Elsewhere"')
        c.ok('DELETE "Elsewhere"')
        self.assertEqual(len(c.names()), 6)

    def test_a_name_is_unique_across_folder_types(self):
        c = self.login()
        c.ok('CREATE "x"')
        for name, word in (("Contacts", "contact"), ("calendar", "calendar"), ("TASKS", "task"), ("Notes", "note")):
            text = f"NO Unable to create the folder. A {word} folder with the same name already exists."
            self.assertEqual(c.do(f'CREATE "{name}"'), text)
            self.assertEqual(c.do(f'CREATE "{name}/"'), text)
            self.assertEqual(c.do(f'RENAME "x" "{name}"'), text)
        c.ok('CREATE "x/Contacts"')

    def test_names_that_differ_only_in_case_are_the_same(self):
        c = self.login()
        c.ok('CREATE "Projects"')
        c.ok('CREATE "Z&AOQ-AbC"')
        for name in ("Projects", "PROJECTS", "inbox", "sent items", "z&AOQ-aBc"):
            self.assertNo(c.do(f'CREATE "{name}"'))
        c.ok('CREATE "z&aOQ-abc"')  # another letter: base64 knows case
        self.assertOk(c.append("pROJECTS"))
        c.ok('SELECT "projects"')
        self.assertIn("* 1 EXISTS", c.untagged)
        c.ok('STATUS PROJECTS (MESSAGES)')
        c.ok('CREATE "PROJECTS/sub"')
        self.assertIn('"Projects/sub"', c.names())
        c.ok('RENAME "projects/SUB" "Projects/Sub"')
        self.assertIn('"Projects/Sub"', c.names())
        self.assertNo(c.do('RENAME "Projects/Sub" "SENT ITEMS"'))

    def test_names_with_a_meaning_are_refused(self):
        c = self.login()
        for name in ("#public", "~user", "", "/x", "a//b", "Public Folders", "public folders/x"):
            self.assertNo(c.do(f'CREATE "{name}"'))
            self.assertNo(c.do(f'RENAME "Drafts/q" "{name}"'))
        for name in ("#public", "~user@kerio.example/INBOX", "Public Folders"):
            self.assertNo(c.do(f'SELECT "{name}"'))
            self.assertNo(c.append(name))

    def test_windows_refuses_more_names(self):
        c = self.login()
        names = ['a:b', 'a*b', 'a?b', 'a\\"b', 'a<b', 'a>b', 'a|b', 'a\\\\b', 'a.', 'a ', 'a /b']
        self.switch("os", "Windows")
        for name in names:
            self.assertNo(c.do(f'CREATE "{name}"'))
        c.ok('CREATE "a b"')
        self.switch("os", "Linux")
        for name in names[:8]:
            self.assertOk(c.do(f'CREATE "{name}"'))

    def test_root_create(self):
        self.switch("root-create", "no")
        c = self.login()
        self.assertNo(c.do('CREATE "top"'))
        self.assertNo(c.do('CREATE "top/sub"'))
        c.ok('CREATE "INBOX/top"')
        c.ok('CREATE "Inbox/top/sub"')

    def test_trailing_blanks(self):
        c = self.login()
        c.ok('CREATE "kept "')
        self.assertIn('"kept "', c.names())
        c.ok('SELECT "kept "')
        c.ok('CREATE "hard&AKA-"')
        self.switch("trailing-blanks", "trim")
        self.assertIn('"kept"', c.names())
        self.assertIn('"hard"', c.names())
        for name in ("kept", "kept ", "hard", "hard&AKA-"):
            self.assertNo(c.do(f'SELECT "{name}"'))
            self.assertNo(c.append(name))

    def test_a_select_that_fails_leaves_nothing_selected(self):
        c = self.login(select="INBOX")
        self.assertNo(c.do('SELECT "Public Folders"'))
        self.assertBad(c.do("FETCH 1 FLAGS"))
        c.ok('SELECT "INBOX"')
        self.assertNo(c.do('SELECT "none"'))
        self.assertBad(c.do("FETCH 1 FLAGS"))

    def test_mail_survives_a_restart_of_the_double(self):
        self.assertOk(self.login().append())
        self.double.stop()
        self.double = start(SANDBOX, *self.options)
        self.tell(f"user {self.user}=secret")
        self.assertEqual(len(self.login().names()), 6)


class Extensions(Front):
    def with_extensions(self, text, select="INBOX"):
        self.switch("extensions", text)
        return self.login(select=select)

    def test_only_what_is_allowed_is_shown(self):
        c = self.login()
        self.assertEqual(set(c.ok("CAPABILITY")[0].split()[2:]), {"IMAP4rev1", "NAMESPACE", "SPECIAL-USE", "ID", "CHILDREN"})  # no QUOTA in this Dovecot
        self.switch("extensions", "UIDPLUS LITERAL+ NONSENSE")
        self.assertEqual(set(c.ok("CAPABILITY")[0].split()[2:]), {"IMAP4rev1", "UIDPLUS", "LITERAL+"})
        self.switch("extensions", "all")
        self.assertGreater(len(c.ok("CAPABILITY")[0].split()), 30)

    def test_hidden_commands_are_unknown(self):
        c = self.login(select="INBOX")
        for command in ('UID EXPUNGE 1', 'MOVE 1 "Drafts"', 'UID MOVE 1 "Drafts"', "IDLE", "ENABLE CONDSTORE", "UNSELECT", 'SORT (DATE) UTF-8 ALL', "UID SORT (DATE) UTF-8 ALL",
                        "THREAD REFERENCES UTF-8 ALL", 'GETQUOTAROOT "INBOX"', "GETMETADATA INBOX /x", "NOTIFY NONE", "COMPRESS DEFLATE", 'GETACL "INBOX"', 'URLFETCH "x"', "X-FROB"):
            verb = " ".join(command.split()[:2]) if command.startswith("UID") else command.split()[0]
            self.assertEqual(c.do(command), f"BAD Unknown command '{verb}'")
        c.ok("NAMESPACE")
        c.ok("ID NIL")
        self.switch("extensions", "")
        for command in ("NAMESPACE", "ID NIL"):
            self.assertBad(c.do(command))

    def test_hidden_options_are_bad(self):
        c = self.login(select="INBOX")
        c.append()
        for command in ('SELECT "INBOX" (CONDSTORE)', 'STATUS "INBOX" (HIGHESTMODSEQ)', 'STATUS "INBOX" (SIZE)', "FETCH 1 (MODSEQ)", "FETCH 1 (FLAGS) (CHANGEDSINCE 1)", "UID FETCH 1 (BINARY.PEEK[1])",
                        "STORE 1 (UNCHANGEDSINCE 1) +FLAGS (\\Seen)", "SEARCH MODSEQ 1", "SEARCH RETURN (COUNT) ALL", "SEARCH YOUNGER 100", 'LIST "" "*" RETURN (CHILDREN)', 'LIST "" ("*" "x")',
                        'LIST (SUBSCRIBED) "" "*"', 'LIST "" "*" RETURN (STATUS (MESSAGES))', 'CREATE "t" (USE (\\Trash))', "FETCH 1 (PREVIEW)", "FETCH 1 (X-GUID)"):
            self.assertBad(c.do(command))
        self.assertOk(c.do('SEARCH SUBJECT "modseq"'))
        self.assertOk(c.do('STATUS "INBOX" (MESSAGES)'))

    def test_allowed_options_work(self):
        c = self.with_extensions("all")
        c.append()
        self.assertIn("HIGHESTMODSEQ", " ".join(c.ok('SELECT "INBOX" (CONDSTORE)')))
        for command in ('STATUS "INBOX" (HIGHESTMODSEQ SIZE)', "FETCH 1 (MODSEQ)", "SEARCH RETURN (COUNT) ALL", 'LIST "" "*" RETURN (STATUS (MESSAGES))', "UNSELECT", "ENABLE CONDSTORE"):
            c.ok(command)

    def test_uidplus(self):
        c = self.login(select="INBOX")
        self.assertNotIn("[", c.append())
        c.ok('COPY 1 "Drafts"')
        self.assertNotIn("COPYUID", c.do('COPY 1 "Drafts"'))
        self.switch("extensions", "UIDPLUS MOVE")
        self.assertIn("[APPENDUID ", c.append())
        self.assertIn("[COPYUID ", c.do('COPY 1 "Drafts"'))
        self.assertOk(c.do("UID EXPUNGE 1"))
        self.assertIn("COPYUID", " ".join(c.ok('UID MOVE 1 "Drafts"')))
        self.switch("extensions", "MOVE")
        self.assertNotIn("COPYUID", " ".join(c.ok('UID MOVE 2 "Drafts"')) + " ".join(c.untagged))

    def test_literal_plus(self):
        c = self.login()
        c.send(f'x APPEND "INBOX" {{{len(MESSAGE)}+}}\r\n'.encode() + MESSAGE + b"\r\n")
        self.assertBad(c.until("x"))
        self.assertTrue(c.closed())
        c = self.login()
        c.send("x SELECT {5+}\r\nINBOX\r\n")
        self.assertBad(c.until("x"))
        self.assertTrue(c.closed())
        c = self.client()
        c.send("x LOGIN {1+}\r\na b\r\n")
        self.assertBad(c.until("x"))
        self.assertTrue(c.closed())
        c = self.with_extensions("LITERAL+")
        self.assertIn("* 0 EXISTS", c.untagged)
        c.send(f'x APPEND {{5+}}\r\nINBOX {{{len(MESSAGE)}+}}\r\n'.encode() + MESSAGE + b"\r\n")
        self.assertOk(c.until("x"))
        c.send(f'x APPEND "none" {{{len(MESSAGE)}+}}\r\n'.encode() + MESSAGE + b"\r\ny NOOP\r\n")
        self.assertNo(c.until("x"))
        self.assertOk(c.until("y"))

    def multi(self, c, *messages):
        octets = b"x APPEND INBOX"
        for flags, m in messages:
            octets += f" ({flags}) {{{len(m)}+}}\r\n".encode() + m
        c.send(octets + b"\r\n")
        return c.until("x")

    def test_multiappend(self):
        c = self.with_extensions("LITERAL+")
        self.assertBad(self.multi(c, ("", MESSAGE), ("", MESSAGE)))
        self.assertEqual(c.ok('STATUS "INBOX" (MESSAGES)')[-1], "* STATUS INBOX (MESSAGES 0)")
        self.assertOk(c.append())
        # Synchronising: the second literal is never asked for.
        tag = c.tag()
        c.send(f"{tag} APPEND INBOX {{3}}\r\n")
        self.assertTrue(c.line().startswith("+"))
        c.send("abc {3}\r\n")
        self.assertBad(c.until(tag))
        self.switch("extensions", "LITERAL+ MULTIAPPEND UIDPLUS")
        self.assertOk(self.multi(c, ("\\Seen", MESSAGE), ("\\Flagged Odd", MESSAGE * 2)))
        c.ok("SELECT INBOX")
        self.assertIn("* 3 EXISTS", c.untagged)
        self.assertEqual((c.flags(2), c.flags(3)), ({"\\Seen"}, {"\\Flagged"}))
        c.ok("FETCH 3 BODY.PEEK[]")
        self.assertEqual(c.literals, [MESSAGE * 2])
        # A second message that is refused takes the first with it.
        self.assertNo(self.multi(c, ("", MESSAGE), ("", b"a\0b"), ("", MESSAGE)))
        self.assertOk(c.do("NOOP"))
        self.assertEqual(c.ok('STATUS "INBOX" (MESSAGES)')[-1], "* STATUS INBOX (MESSAGES 3)")

    def test_condstore_codes(self):
        c = self.login()
        c.append()
        self.assertNotIn("HIGHESTMODSEQ", " ".join(c.ok('SELECT "INBOX"')))
        self.switch("extensions", "CONDSTORE")
        self.assertIn("HIGHESTMODSEQ", " ".join(c.ok('SELECT "INBOX" (CONDSTORE)')))

    def test_idle(self):
        c = self.with_extensions("IDLE")
        c.send("x IDLE\r\n")
        self.assertTrue(c.line().startswith("+"))
        self.assertOk(self.login().append())
        while c.line() != "* 1 EXISTS":
            pass
        c.send("DONE\r\n")
        self.assertOk(c.until("x"))
        self.assertOk(c.do("NOOP"))

    def test_pipelined_commands(self):
        c = self.with_extensions("LITERAL+")
        octets = b""
        for i in range(200):
            octets += b"p%d APPEND INBOX (\\Seen) {%d+}\r\n%b\r\n" % (i, len(MESSAGE), MESSAGE) + b"q%d NOOP\r\n" % i
        sender = threading.Thread(target=c.send, args=(octets + b"r STATUS INBOX (MESSAGES)\r\n",))
        sender.start()
        for i in range(200):
            self.assertOk(c.until(f"p{i}"))
            self.assertOk(c.until(f"q{i}"))
        self.assertOk(c.until("r"))
        self.assertIn("* STATUS INBOX (MESSAGES 200)", c.untagged)
        sender.join()


class Messages(Front):
    def test_flags_and_permanentflags(self):
        c = self.login()
        for command in ('SELECT "INBOX"', 'EXAMINE "INBOX"'):
            c.ok(command)
            self.assertIn(f"* FLAGS ({FLAGS})", c.untagged)
            self.assertTrue(any(r.startswith(f"* OK [PERMANENTFLAGS ({FLAGS})]") for r in c.untagged), c.untagged)

    def test_other_keywords(self):
        c = self.login(select="INBOX")
        self.assertOk(c.append(flags="\\Seen $Forwarded Label $label1 \\Odd"))
        self.assertEqual(c.flags(1), {"\\Seen", "$Forwarded"})
        self.assertOk(c.do("UID STORE 1 +FLAGS (Other $Junk)"))
        self.assertOk(c.do("UID STORE 1 +FLAGS (Other)"))
        self.assertOk(c.do("STORE 1 +FLAGS Other"))
        self.assertEqual(c.flags(1), {"\\Seen", "$Forwarded", "$Junk"})
        self.assertOk(c.do("UID STORE 1 FLAGS (Other \\Flagged)"))
        self.assertEqual(c.flags(1), {"\\Flagged"})
        self.assertOk(c.do("UID STORE 1 -FLAGS.SILENT (Other \\Flagged)"))
        self.assertEqual(c.flags(1), set())
        self.switch("keywords", "no")
        self.assertNo(c.append(flags="\\Seen Label"))
        self.assertNo(c.do("UID STORE 1 +FLAGS (\\Seen Other)"))
        self.assertEqual(c.flags(1), set())
        self.assertOk(c.append(flags="\\Seen $NotJunk"))

    def test_deleted_moves(self):
        c = self.login(select="INBOX")
        for _ in range(6):
            self.assertOk(c.append())
        c.ok("NOOP")
        c.ok("STORE 2 +FLAGS (\\Deleted)")
        self.assertIn("* 2 EXPUNGE", c.untagged)
        c.ok("UID STORE 3 +FLAGS.SILENT (\\Deleted \\Flagged)")
        self.assertIn("* 2 EXPUNGE", c.untagged)
        c.ok("UID STORE 4 FLAGS (\\Deleted)")
        c.ok("UID STORE 5 -FLAGS (\\Deleted)")
        self.assertEqual((c.count("INBOX"), c.count("Deleted Items")), (3, 3))
        c.ok("EXAMINE INBOX")
        self.assertNotRegex(c.do("STORE 1 +FLAGS (\\Deleted)"), "^BAD")
        self.assertEqual(c.count("INBOX"), 3)
        c.ok('SELECT "Deleted Items"')
        self.assertEqual(c.flags(2), {"\\Flagged"})
        c.ok("UID STORE 2 +FLAGS (\\Deleted)")
        self.assertIn("* 2 EXPUNGE", c.untagged)
        self.assertEqual(c.count("Deleted Items"), 2)

    def test_appending_with_deleted(self):
        c = self.login()
        self.assertOk(c.append(flags="\\Deleted \\Seen"))
        self.assertEqual((c.count("INBOX"), c.count("Deleted Items")), (0, 1))
        c.ok('SELECT "Deleted Items"')
        self.assertEqual(c.flags(1), {"\\Seen"})
        self.assertOk(c.append("deleted items", flags="\\Deleted"))
        self.assertEqual(c.count("Deleted Items"), 1)

    def test_appending_several_of_which_some_are_deleted(self):
        self.switch("extensions", "LITERAL+ MULTIAPPEND")
        c = self.login(select="Drafts")
        for mailbox, left in (("INBOX", 2), ("Deleted Items", 4)):
            octets = f'x APPEND "{mailbox}"'.encode()
            for flags in (b"\\Deleted", b"\\Seen", b"\\Deleted \\Flagged", b""):
                octets += b" (%b) {%d+}\r\n%b" % (flags, len(MESSAGE), MESSAGE)
            c.send(octets + b"\r\n")
            self.assertOk(c.until("x"))
            self.assertEqual(c.untagged, [])
            self.assertEqual(c.count(mailbox), left)
        c.ok('SELECT "Deleted Items"')
        self.assertEqual([c.flags(uid) for uid in (1, 2, 4)], [set(), {"\\Flagged"}, {"\\Seen"}])

    def test_deleted_stays_if_the_switch_says_so(self):
        self.switch("deleted-moves", "off")
        c = self.login()
        self.assertOk(c.append(flags="\\Deleted"))
        c.ok("SELECT INBOX")
        self.assertEqual(c.flags(1), {"\\Deleted"})
        self.assertOk(c.append())
        c.ok("UID STORE 2 +FLAGS (\\Deleted)")
        self.assertEqual(c.flags(2), {"\\Deleted"})
        c.ok("EXPUNGE")
        self.assertEqual(c.count("INBOX"), 0)

    def test_append_date(self):
        c = self.login(select="INBOX")
        self.assertOk(c.append(date=" 1-Feb-2020 03:04:05 +0200"))
        self.assertOk(c.append(date="01-Feb-2020 03:04:05 +0000"))
        for n, utc in ((1, "01:04:05"), (2, "03:04:05")):
            shown = re.search(r'INTERNALDATE "(.*?)"', c.ok(f"FETCH {n} INTERNALDATE")[-1])[1]
            moment = datetime.datetime.strptime(shown.strip(), "%d-%b-%Y %H:%M:%S %z").astimezone(datetime.timezone.utc)
            self.assertEqual(moment.isoformat(), f"2020-02-01T{utc}+00:00")
        malformed = "NO Malformed date parameter"
        for date in ("1-Feb-2020 03:04:05 +0200", "01-Feb-2020 03:04:05 +1500", "01-Xyz-2020 03:04:05 +0000", "01-Feb-2020 03:04:05"):
            self.assertEqual(c.append(date=date), malformed)
        self.switch("append-date", "utc-only")
        self.assertEqual(c.append(date="01-Feb-2020 03:04:05 +0200"), malformed)
        self.assertOk(c.append(date="01-Feb-2020 03:04:05 +0000"))
        self.switch("append-date", "refuse")
        self.assertEqual(c.append(date="01-Feb-2020 03:04:05 +0000"), malformed)
        self.assertOk(c.append())
        self.assertEqual(c.count("INBOX"), 4)

    def test_nul(self):
        c = self.login(select="INBOX")
        self.assertNo(c.append(octets=b"Subject: x\r\n\r\na\0b"))
        self.assertNo(c.append(octets=b"x" * 300000 + b"\0"))
        self.assertEqual(c.count("INBOX"), 0)
        self.assertOk(c.append())  # the session and its mailbox are as before
        self.assertOk(c.do("NOOP"))
        self.assertOk(c.do("UID FETCH 1 (FLAGS)"))
        self.switch("nul", "ok")
        self.assertOk(c.append(octets=b"Subject: x\r\n\r\na\0b"))

    def test_quota(self):
        self.switch("quota", "full-after-2")
        c = self.login(select="INBOX")
        self.assertOk(c.append())
        self.assertOk(c.append("Drafts"))
        self.assertNo(c.append())
        self.assertNo(c.do('COPY 1 "Drafts"'))
        self.assertEqual(c.count("INBOX"), 1)
        self.switch("quota", "ok")
        self.assertOk(c.append())
        self.tell(f"set {self.user} item_limit 3")
        self.assertNo(c.append())

    def test_an_append_to_no_mailbox_is_refused_before_its_literal(self):
        c = self.login()
        self.assertEqual(c.append("none")[:15], "NO [TRYCREATE] ")
        self.assertOk(c.do("NOOP"))
        self.assertBad(c.do("APPEND"))
        self.assertBad(c.do('APPEND "INBOX"'))
        self.assertBad(c.literal('APPEND "INBOX" (\\Seen) junk', b"x"))
        self.assertOk(c.do("NOOP"))

    def test_a_large_literal_passes_octet_for_octet(self):
        big = b"Subject: big\r\n\r\n" + b"".join(hashlib.sha256(b"%d" % i).hexdigest().encode() + b"\r\n" for i in range(20_000_000 // 66))
        for tls in (False, True):
            c = self.client(tls=tls)
            c.ok(f"LOGIN {self.user} secret")
            self.assertOk(c.append("Drafts", big))
            c.ok('SELECT "Drafts"')
            c.ok("FETCH * (RFC822.SIZE BODY.PEEK[])")
            self.assertEqual(hashlib.sha256(c.literals[0]).digest(), hashlib.sha256(big).digest())

    def test_a_mailbox_may_be_named_by_a_literal(self):
        c = self.login()
        tag = c.tag()
        c.send(f"{tag} APPEND {{6}}\r\n")
        self.assertTrue(c.line().startswith("+"))
        c.send(f"Drafts (\\Seen) {{{len(MESSAGE)}}}\r\n")
        self.assertTrue(c.line().startswith("+"))
        c.send(MESSAGE + b"\r\n")
        self.assertOk(c.until(tag))
        self.assertOk(c.literal("STATUS", b"Drafts", " (MESSAGES)"))
        self.assertIn("MESSAGES 1", c.untagged[0])

    def test_dropped_after_so_many_commands(self):
        self.switch("imap-drop-after-commands", "3")
        c = self.login()
        c.ok("NOOP")
        c.ok("NOOP")
        self.assertTrue(c.closed())


class Faults(Front):
    def fault(self, spec):
        self.tell(f"fault imap {spec}")

    def count(self):
        return self.login().count()

    def test_cut(self):
        self.fault("APPEND 2 cut")
        c = self.login()
        self.assertOk(c.append())
        with self.assertRaises((Closed, OSError)):
            c.append()
        self.assertEqual(self.count(), 1)

    def test_lost(self):
        self.fault("APPEND 1 lost")
        with self.assertRaises(Closed):
            self.login().append()
        self.assertEqual(self.count(), 1)
        self.fault("CREATE 1 lost")
        with self.assertRaises(Closed):
            self.login().do('CREATE "made"')
        self.assertIn('"made"', self.login().names())
        self.fault("LOGIN 1 lost")
        with self.assertRaises(Closed):
            self.login()

    def test_middle(self):
        self.fault("APPEND 1 middle")
        with self.assertRaises((Closed, OSError)):
            self.login().append(octets=b"x" * 1000000)
        self.assertEqual(self.count(), 0)
        c = self.login(select="INBOX")
        self.assertOk(c.append(octets=MESSAGE * 100))
        self.fault("FETCH 1 middle")
        with self.assertRaisesRegex(Closed, "in a literal"):
            c.ok("FETCH 1 BODY.PEEK[]")
        self.fault("NOOP 1 middle")
        self.assertTrue(self.gone(self.login(), "NOOP"))

    def gone(self, c, command):
        try:
            c.do(command)
        except (Closed, OSError):
            return True

    def test_bye(self):
        self.fault("NOOP 1 bye")
        c = self.login()
        c.send("x NOOP\r\n")
        self.assertTrue(c.line().startswith("* BYE"))
        self.assertTrue(c.closed())

    def test_no_and_bad(self):
        self.fault("APPEND 1 no:Try again")
        self.fault("APPEND 2 bad:What?")
        self.fault("X-SETUSER * no:Not you")
        c = self.login()
        self.assertEqual(c.append(), "NO Try again")
        self.assertEqual(c.append(), "BAD What?")
        self.assertOk(c.append())
        self.assertEqual(c.do("X-SETUSER x"), "NO Not you")
        self.assertEqual(self.count(), 1)

    def test_no_then_done(self):
        self.fault("APPEND 1 no-then-done:Server busy")
        self.assertEqual(self.login().append(), "NO Server busy")
        self.assertEqual(self.count(), 1)

    def test_freeze(self):
        self.fault("NOOP 1 freeze")
        c = self.login()
        c.send("x NOOP\r\n")
        self.assertEqual(select.select([c.socket], [], [], 0.5)[0], [])
        self.assertOk(self.login().do("NOOP"))

    def test_any_command_and_every_time(self):
        c = self.login()
        self.fault("* * no:Never")
        self.assertEqual(c.do("NOOP"), "NO Never")
        self.assertEqual(c.do("CAPABILITY"), "NO Never")
        self.tell("clear-faults")
        self.assertOk(c.do("NOOP"))

    def test_commands_are_logged_without_arguments(self):
        self.tell("commands")
        c = self.login()
        c.append(octets=b"x" * 321)
        c.ok('SELECT "INBOX"')
        c.ok("UID FETCH 1 (FLAGS)")
        self.assertEqual(self.tell("commands")["commands"], ["- LOGIN", f"{self.user} APPEND", f"{self.user} MESSAGE 321", f"{self.user} SELECT", f"{self.user} UID FETCH"])


class Transparent(Front):
    """kerio=off."""
    options = ["--switch", "kerio=off"]

    def test_nothing_is_hidden_or_changed(self):
        c = self.client()
        self.assertIn("[CAPABILITY IMAP4rev1", c.do(f"LOGIN {self.user} secret"))
        self.assertEqual(c.ok('LIST "" "*"'), ['* LIST (\\HasNoChildren) "/" INBOX'])
        self.assertIn("[APPENDUID ", c.append(flags="Odd \\Deleted"))
        c.ok("SELECT INBOX")
        self.assertIn("\\*", " ".join(c.untagged))
        self.assertEqual(c.flags(1), {"Odd", "\\Deleted"})
        c.send("x APPEND INBOX {3+}\r\nabc (Label) {3}\r\n")
        self.assertTrue(c.line().startswith("+"))
        c.send("def\r\n")
        self.assertOk(c.until("x"))
        self.assertNo(c.append("none"))
        c.send("y APPEND none {3+}\r\nabc\r\n")
        self.assertNo(c.until("y"))
        c.ok("UID MOVE 1 INBOX")
        c.ok("ENABLE QRESYNC")
        c.send("z IDLE\r\n")
        self.assertTrue(c.line().startswith("+"))
        self.login().append()
        while not c.line().endswith(" EXISTS"):
            pass
        c.send("DONE\r\n")
        self.assertOk(c.until("z"))
        c.ok("LOGOUT")
        self.assertTrue(c.closed())

    def test_the_same_session_with_and_without_the_front_reads_the_same(self):
        c = self.login()
        for i in range(5):
            self.assertOk(c.append(octets=MESSAGE * (i + 1), flags="Label \\Seen", date="01-Feb-2020 03:04:05 +0100"))
        direct = Client(int((SANDBOX / "target.port").read_text()))
        self.clients.append(direct)
        direct.ok(f'LOGIN "{self.user}*kerio" master-secret')
        direct.tags = c.tags = 100
        for command in ("CAPABILITY", "ID NIL", 'LIST "" "*" RETURN (CHILDREN STATUS (MESSAGES SIZE))', "NAMESPACE", "EXAMINE INBOX (CONDSTORE)", "FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE MODSEQ ENVELOPE BODYSTRUCTURE)",
                        "FETCH 1:* (BODY.PEEK[] BODY.PEEK[HEADER.FIELDS (SUBJECT)])", "UID SEARCH RETURN (ALL COUNT) KEYWORD Label", "SEARCH FROM x", "FETCH 99 FLAGS", "FROB", "SELECT none", "STORE", "LIST x", "CLOSE", "STARTTLS", "LOGIN a b"):
            texts = []
            for one in (c, direct):
                answer = one.do(command)
                texts.append([re.sub(r"\([\d.]+ \+ [\d.]+ .*secs\)", "", t) for t in (*one.untagged, answer)] + one.literals)
            self.assertEqual(texts[0], texts[1], command)

    def test_faults_strike_here_too(self):
        self.tell("fault imap APPEND 2 lost")
        self.tell("fault imap APPEND 3 no-then-done:Busy")
        self.tell("fault imap APPEND 4 middle")
        c = self.login()
        self.assertOk(c.append())
        with self.assertRaises(Closed):
            c.append()
        self.assertEqual(self.login().append(), "NO Busy")
        with self.assertRaises((Closed, OSError)):
            self.login().append(octets=MESSAGE * 1000)
        self.assertIn("* 3 EXISTS", self.login().ok("SELECT INBOX"))


class Copy(support.Sandbox):
    """A whole migration through the transparent front, judged against Dovecot itself."""
    users = [(f"u{i}", "secret", f"u{i}@kerio.example") for i in range(1, 3)]
    messages = 200

    def setUp(self):
        super().setUp()
        run(FIXTURES / "sandbox.sh", "stop", self.dir, "target")
        (self.dir / "target.masters").write_text("kerio\tmaster-secret\n")
        run(FIXTURES / "sandbox.sh", "start", self.dir, "target")
        self.double = start(self.dir, "--switch", "kerio=off")
        for _, password, login in self.users:
            self.double.control(f"user {login}={password}")

    def tearDown(self):
        self.double.stop()
        super().tearDown()

    @unittest.skipUnless(PROGRAM, "the program under test was not named")
    def test_transparent(self):
        report = self.report(target_port=self.double.imap_port)
        self.assertEqual(report["books"]["pending"], 0)
        self.expect_clean("through the front")
        self.assertEqual(self.report(target_port=self.double.imap_port)["run"]["appended"], 0)


if __name__ == "__main__":
    support.main()
