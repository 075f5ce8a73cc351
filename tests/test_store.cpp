// Stores: the same cases for each kind, and what a tcp:// server makes of strangers, wrong tokens and lost clients.
#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <functional>
#include <thread>
#include <vector>

#include "catch.h"
#include "free_port.h"
#include "moment.h"
#include "scratch.h"

#include <gradus/core/error.h>
#include <gradus/distributed/detail/fd.h>
#include <gradus/distributed/detail/store_wire.h>
#include <gradus/distributed/store.h>
#include <gradus/fmt.h>

using namespace gradus;
using namespace gradus::dist;
using Catch::Matchers::ContainsSubstring;
using dist::detail::Ask, dist::detail::magic, dist::detail::message;
using dist::detail::Fd;

namespace {

/// A redis-server of our own, where there is one to start.
class Redis {
 public:
  explicit Redis(int port_) : port(port_) {
    pid_ = fork();
    if (pid_ == 0) {
      alarm(60);
      const int nowhere = open("/dev/null", O_RDWR);
      dup2(nowhere, 1);
      dup2(nowhere, 2);
      execlp("redis-server", "redis-server", "--bind", "127.0.0.1", "--save", "", "--port",
             std::to_string(port).c_str(), nullptr);
      _exit(127);
    }
  }
  Redis(const Redis&) = delete;
  ~Redis() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  static bool is_installed() { return std::system("command -v redis-server >/dev/null 2>&1") == 0; }
  const int port;

 private:
  pid_t pid_;
};

/// Somewhere to open stores, of one of the kinds.
struct Site {
  explicit Site(const std::string& kind) {
    if (kind == "tcp") {
      server = make_box<StoreServer>("127.0.0.1", 0, token = "secret");
      url = fmt::format("tcp://127.0.0.1:{}", server->port());
    } else if (kind == "file") {
      url = "file://" + (folder / "store");
    } else {
      redis = make_box<Redis>(port.number());
      url = fmt::format("redis://127.0.0.1:{}", redis->port);
    }
  }
  Box<Store> open(const std::string& prefix = "job/0/", double timeout = 20) const {
    return open_store(url, {.token = token, .prefix = prefix, .timeout = timeout});
  }
  Scratch folder;
  Box<StoreServer> server;
  FreePort port;  // of Redis
  Box<Redis> redis;
  std::string url, token;
};

std::vector<std::string> kinds() {
  std::vector<std::string> all{"tcp", "file"};
  if (Redis::is_installed()) {
    all.push_back("redis");
  } else {
    static const bool said =
        (fmt::print("redis: SKIPPED, no redis-server here (apt-get install redis-server)\n"), true);
    (void)said;
  }
  return all;
}

CommError error_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const CommError& error) {
    return error;
  }
  FAIL("no CommError");
  return CommError("");
}

/// A connection that speaks for itself.
Fd stranger(const StoreServer& server) {
  Fd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_in address = loopback(server.port());
  REQUIRE(connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  return fd;
}
void say(const Fd& fd, const std::string& bytes) { send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL); }
bool is_sent_away(const Fd& fd) {
  const timeval patience{5, 0};
  setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  char bytes[4096];
  ssize_t n;
  while ((n = recv(fd.get(), bytes, sizeof bytes, 0)) > 0) {
  }
  return n == 0 || errno == ECONNRESET;
}

}  // namespace

TEST_CASE("a store keeps what it is given") {
  for (const std::string& kind : kinds()) {
    INFO(kind);
    const Site site(kind);
    const Box<Store> a = site.open(), b = site.open(), elsewhere = site.open("job/1/");
    const std::string binary("a\0b\r\n\xff", 6), key = "path/../with spaces %41 \xc3\xa4";
    a->set(key, binary);
    CHECK(b->get(key, 5) == binary);
    CHECK(b->find(key) == binary);
    CHECK_FALSE(elsewhere->find(key));
    a->set(key, "");
    CHECK(b->find(key) == "");
    const std::string large(3 << 20, 'x');
    a->set("large", large);
    CHECK(b->get("large", 20) == large);

    CHECK(a->set_once("once", "first") == "first");
    CHECK(b->set_once("once", "second") == "first");
    CHECK(a->add("number", 5) == 5);
    CHECK(b->add("number", -7) == -2);
    CHECK(a->find("number") == "-2");
    a->set("number", "9223372036854775807");
    CHECK_THROWS_AS(a->add("number", 1), CommError);
    CHECK(b->get("number", 1) == "9223372036854775807");
    a->set("text", "one");
    CHECK_THROWS_AS(a->add("text", 1), CommError);
    a->close();
    CHECK(b->find("once") == "first");
  }
}

TEST_CASE("a store's reader waits for the writer") {
  for (const std::string& kind : kinds()) {
    INFO(kind);
    const Site site(kind);
    const Box<Store> reader = site.open();
    std::thread writer([&] {
      const Box<Store> store = site.open();
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      store->set("late", "here");
    });
    CHECK(reader->get("late", 20) == "here");
    writer.join();

    const Moment start;
    const CommError error = error_of([&] { reader->get("never", 0.3); });
    CHECK(now() - start.at >= 0.3);
    CHECK(seconds_since(start) < 1.3);
    CHECK(error.kind == CommError::Kind::timeout);
    CHECK_THAT(error.what(), ContainsSubstring("job/0/never") && ContainsSubstring(site.url));
    CHECK_THROWS_AS(reader->get("never", 0), CommError);
    CHECK_THROWS_AS(reader->get("never", std::nan("")), CommError);
    CHECK(reader->get("late", 0) == "here");  // a wait that ran out leaves the store as it was
  }
}

TEST_CASE("sums of many callers lose nothing") {
  for (const std::string& kind : kinds()) {
    INFO(kind);
    const Site site(kind);
    const Box<Store> shared = site.open();
    std::vector<std::thread> threads;
    std::atomic<int> winners{0};
    for (int t = 0; t < 4; ++t)
      threads.emplace_back([&, t] {
        const Box<Store> own = site.open();
        for (int i = 0; i < 25; ++i) {
          own->add("count", 1);
          shared->add("count", 1);
        }
        winners += own->set_once("winner", std::to_string(t)) == std::to_string(t);
      });
    for (std::thread& thread : threads) thread.join();
    CHECK(shared->find("count") == "200");
    CHECK(winners == 1);
  }
}

TEST_CASE("keys and values that no store takes") {
  for (const std::string& kind : kinds()) {
    INFO(kind);
    const Site site(kind);
    const Box<Store> store = site.open();
    CHECK_THROWS_AS(store->set("", "x"), CommError);
    CHECK_THROWS_AS(store->find(std::string(2000, 'k')), CommError);
    CHECK_THROWS_AS(store->set("k", std::string((16 << 20) + 1, 'v')), CommError);
    store->set("k", "v");
    CHECK(store->find("k") == "v");
  }
}

TEST_CASE("addresses that are none") {
  for (const std::string url :
       {"", "http://x:1", "tcp://", "tcp://host", "tcp://host:", "tcp://host:0", "tcp://host:99999", "tcp://host:12x",
        "tcp://:5", "tcp://a:b:5", "file://", "file://relative", "redis://x", "file:///proc/no/such"}) {
    INFO(url);
    const CommError error = error_of([&] { open_store(url, {.timeout = 0.2}); });
    CHECK_THAT(error.what(), ContainsSubstring(url));
  }
  const FreePort nobody;
  const Moment start;
  const CommError error =
      error_of([&] { open_store(fmt::format("tcp://127.0.0.1:{}", nobody.number()), {.timeout = 0.3}); });
  CHECK(error.kind == CommError::Kind::timeout);
  CHECK_THAT(error.what(), ContainsSubstring("refused"));
  CHECK(seconds_since(start) < 1.3);
  CHECK_THROWS_AS(open_store("tcp://no-such-host.invalid:80", {.timeout = 0.2}), CommError);
  CHECK_THROWS_AS(StoreServer("127.0.0.1", 65536, ""), CommError);
  const StoreServer server("127.0.0.1", 0, "");
  CHECK_THAT(error_of([&] { StoreServer("127.0.0.1", server.port(), ""); }).what(), ContainsSubstring("in use"));
}

TEST_CASE("a client may come before its server") {
  const FreePort port;
  Box<StoreServer> server;
  std::thread late([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    server = make_box<StoreServer>("127.0.0.1", port.number(), "t");
  });
  const Box<Store> store = open_store(fmt::format("tcp://localhost:{}", port.number()), {.token = "t", .timeout = 20});
  late.join();
  CHECK(store->add("x", 1) == 1);
}

TEST_CASE("a server answers only those who know the token") {
  const Site site("tcp");
  for (const std::string token : {"", "Secret", "secret!", "secre"}) {
    const CommError error = error_of([&] { open_store(site.url, {.token = token, .timeout = 5}); });
    CHECK_THAT(error.what(), ContainsSubstring("token") && ContainsSubstring(site.url));
  }
  CHECK_THROWS_AS(open_store(site.url, {.token = std::string(300, 't')}), CommError);
  CHECK(site.open()->add("x", 1) == 1);
}

TEST_CASE("strangers are sent away and keep nobody waiting") {
  const Site site("tcp");
  const std::string hello = message(Ask::hello, {magic, "secret"});
  std::vector<Fd> silent;
  for (int i = 0; i < 20; ++i) silent.push_back(stranger(*site.server));
  for (size_t i = 0; i < 10; ++i) say(silent[i], hello.substr(0, 3 + i));  // never finishes his sentence

  const std::vector<std::string> nonsense = {
      std::string(64, '\xff'),                      // 4 GiB announced
      std::string(64, '\0'),                        // a message of nothing
      "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",  // a browser
      message(Ask::hello, {"Gradus store 0", "secret"}),
      message(Ask::hello, {magic}),
      message(Ask::set, {"key", "value"}),               // without a greeting
      std::string("\x05\0\0\0\x01\xff\xff\xff\xff", 9),  // a field of 4 GiB
      std::string("\0\0\0\x01", 4) + std::string(100000, 'x'),
      message(static_cast<Ask>(99), {}),
      hello + message(static_cast<Ask>(99), {"key", "value"}),
      hello + message(Ask::set, {"", "value"}),
      hello + message(Ask::set, {"key", "value", "more"}),
      hello + message(Ask::set, {std::string(2000, 'k'), "value"}),
      hello + std::string("\xff\xff\xff\x7f", 4),
      hello + std::string("\0\0\0\0", 4),
  };
  for (size_t i = 0; i < nonsense.size(); ++i) {
    INFO("message " << i);
    const Fd fd = stranger(*site.server);
    say(fd, nonsense[i]);
    CHECK(is_sent_away(fd));
  }
  const Moment start;
  const Box<Store> store = site.open();
  store->set("key", "value");
  CHECK(store->get("key", 5) == "value");
  CHECK(seconds_since(start) < 1);
}

TEST_CASE("a message may come byte by byte") {
  const Site site("tcp");
  const Fd fd = stranger(*site.server);
  for (const char byte : message(Ask::hello, {magic, "secret"}) + message(Ask::set, {"slow", "done"})) {
    say(fd, {byte});
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  CHECK(site.open("")->get("slow", 10) == "done");
}

TEST_CASE("a client that takes no answers keeps nobody waiting") {
  const Site site("tcp");
  const Box<Store> store = site.open("");
  store->set("large", std::string(8 << 20, 'x'));
  const Fd fd = stranger(*site.server);
  say(fd, message(Ask::hello, {magic, "secret"}));
  for (int i = 0; i < 10; ++i) say(fd, message(Ask::find, {"large"}));
  const Moment start;
  for (int i = 0; i < 100; ++i) store->add("n", 1);
  CHECK(seconds_since(start) < 5);
  CHECK(store->find("n") == "100");
}

TEST_CASE("a will is carried out when its client dies, and only then") {
  const Site site("tcp");
  const Box<Store> watcher = site.open();
  for (const bool in_order : {true, false}) {
    const pid_t child = fork();
    if (child == 0) {
      const Box<Store> store = site.open();
      store->leave_will("will", "I am gone");
      if (!in_order) kill(getpid(), SIGKILL);
      store->close();
      site.open()->set("left", "");
      _exit(0);
    }
    REQUIRE(waitpid(child, nullptr, 0) == child);
    if (in_order) {
      watcher->get("left", 10);
      CHECK_THROWS_AS(watcher->get("will", 0.2), CommError);
    } else {
      const Moment start;
      CHECK(watcher->get("will", 10) == "I am gone");
      CHECK(seconds_since(start) < 1);
    }
  }
  const Box<Store> late = site.open();  // the key is there already: it stays
  late->leave_will("will", "me, too");
  {
    const Box<Store> gone = site.open();
    gone->leave_will("will", "and me");
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  CHECK(watcher->find("will") == "I am gone");
  CHECK_FALSE(Site("file").open()->leave_will("will", "x"));
}

TEST_CASE("a server that is gone, or does not answer, is an error in time") {
  Site site("tcp");
  const Box<Store> store = site.open("", 1), waiting = site.open("", 1);
  store->set("x", "1");
  std::thread ending([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    site.server = {};
  });
  const CommError lost = error_of([&] { waiting->get("y", 30); });
  ending.join();
  CHECK(lost.kind == CommError::Kind::peer_lost);
  CHECK_THAT(lost.what(), ContainsSubstring("\"y\""));
  CHECK(error_of([&] { store->find("x"); }).kind == CommError::Kind::peer_lost);
  CHECK_THROWS_AS(store->find("x"), CommError);  // and again
  store->close();
  CHECK_THAT(error_of([&] { store->find("x"); }).what(), ContainsSubstring("closed"));

  const FreePort deaf;
  deaf.listen_only();
  const Moment start;
  const CommError silent =
      error_of([&] { open_store(fmt::format("tcp://127.0.0.1:{}", deaf.number()), {.timeout = 0.3}); });
  CHECK(silent.kind == CommError::Kind::timeout);
  CHECK(seconds_since(start) < 1.3);
}

namespace {

/// A server in a process of its own, which can be stopped.
class Elsewhere {
 public:
  Elsewhere() {
    int ends[2];
    REQUIRE(pipe(ends) == 0);
    const Fd from(ends[0]), to(ends[1]);
    pid_ = fork();
    if (pid_ == 0) {
      alarm(60);
      const StoreServer server("127.0.0.1", 0, "");
      const int port = server.port();
      (void)!write(to.get(), &port, sizeof port);
      for (;;) pause();
    }
    int port = 0;
    REQUIRE(read(from.get(), &port, sizeof port) == sizeof port);
    url = fmt::format("tcp://127.0.0.1:{}", port);
  }
  Elsewhere(const Elsewhere&) = delete;
  ~Elsewhere() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  void stop() const {
    kill(pid_, SIGSTOP);
    waitpid(pid_, nullptr, WUNTRACED);
  }
  void go_on() const { kill(pid_, SIGCONT); }
  std::string url;

 private:
  pid_t pid_;
};

}  // namespace

TEST_CASE("a server that is late is not lost: the store works on, and no will is carried out") {
  const Elsewhere server;
  const Box<Store> store = open_store(server.url, {.timeout = 20}), hasty = open_store(server.url, {.timeout = 0.1});
  CHECK(store->leave_will("will", "I am gone"));
  store->set("x", "1");
  server.stop();
  CHECK(error_of([&] { store->get("y", 0.1); }).kind == CommError::Kind::timeout);
  for (int i = 0; i < 3; ++i) CHECK(error_of([&] { hasty->add("n", 1); }).kind == CommError::Kind::timeout);
  server.go_on();
  CHECK(store->find("x") == "1");  // not the answer that store->get() did not wait for
  CHECK(store->get("n", 20) == "3");
  CHECK(store->add("n", 1) == 4);
  CHECK_FALSE(store->find("will"));
}

TEST_CASE("a farewell behind questions that nobody waits for is heard") {
  const Elsewhere server;
  const Box<Store> store = open_store(server.url, {.timeout = 20});
  {
    const Box<Store> hasty = open_store(server.url, {.timeout = 0.1});
    CHECK(hasty->leave_will("will", "I am gone"));
    server.stop();
    for (int i = 0; i < 8; ++i) CHECK(error_of([&] { hasty->find("x"); }).kind == CommError::Kind::timeout);
    hasty->close();
  }
  server.go_on();
  CHECK_THROWS_AS(store->get("will", 0.5), CommError);
}

TEST_CASE("a server ends when its last client has left") {
  Site site("tcp");
  const Fd silent = stranger(*site.server);  // he does not count
  Box<Store> store = site.open("");
  std::thread user([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    const Box<Store> newcomer = site.open("");
    newcomer->set("late", "");
    store->get("late", 5);
    store->close();
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    CHECK(newcomer->find("late"));
  });
  const double start = now();
  site.server->finish(30);
  CHECK(now() - start >= 0.4);
  CHECK(now() - start < 10);
  user.join();

  Site other("tcp");
  const Box<Store> stays = other.open("");
  const double begun = now();
  other.server->finish(0.3);
  CHECK(now() - begun >= 0.3);
  CHECK(error_of([&] { stays->find("x"); }).kind == CommError::Kind::peer_lost);
}

TEST_CASE("a Redis server that was started anew is found again") {
  if (!Redis::is_installed()) return;
  Site site("redis");
  const Box<Store> store = site.open();
  store->set("x", "1");
  site.redis = {};
  CHECK_THROWS_AS(site.open("", 0.3), CommError);
  CHECK_THROWS_AS(store->find("x"), CommError);
  site.redis = make_box<Redis>(site.port.number());
  site.open();  // it is there
  CHECK_FALSE(store->find("x"));
  store->close();
  CHECK_THAT(error_of([&] { store->find("x"); }).what(), ContainsSubstring("closed"));
}

TEST_CASE("a server without descriptors serves those it has") {
  const Site site("tcp");
  const Box<Store> store = site.open("");
  rlimit before{};
  getrlimit(RLIMIT_NOFILE, &before);
  std::vector<Fd> hoard, strangers;
  for (int i = 0; i < 8; ++i) strangers.push_back(stranger(*site.server));
  // A server takes in who has come when it has answered: with the second answer, all from before the first request.
  const auto taken_in = [&] { return store->add("x", 0) == store->add("x", 0); };
  CHECK(taken_in());
  const rlimit few{64, before.rlim_max};
  setrlimit(RLIMIT_NOFILE, &few);
  for (int fd; (fd = dup(0)) >= 0;) hoard.emplace_back(fd);
  hoard.pop_back();
  const Fd last(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));  // the server has none left to take it with
  const sockaddr_in address = loopback(site.server->port());
  CHECK(connect(last.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  CHECK(store->add("x", 1) == 1);
  CHECK(taken_in());
  hoard.clear();
  setrlimit(RLIMIT_NOFILE, &before);
  CHECK(is_sent_away(strangers[0]));  // made room
  CHECK(site.open("")->add("x", 1) == 2);
}

TEST_CASE("a file store outlives a writer that dies, and tells of one that is stopped") {
  const Site site("file");
  const Box<Store> store = site.open("");
  const pid_t child = fork();
  if (child == 0) {
    const Box<Store> own = site.open("");
    for (;;) own->add("n", 1);
  }
  store->get("n", 20);
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  kill(child, SIGKILL);
  REQUIRE(waitpid(child, nullptr, 0) == child);
  const int64_t reached = store->add("n", 0);
  CHECK(reached > 0);
  CHECK(store->add("n", 1) == reached + 1);

  const Fd held(open((site.folder / "store/lock").c_str(), O_RDWR | O_CLOEXEC));
  REQUIRE(flock(held.get(), LOCK_EX) == 0);
  const CommError error = error_of([&] { site.open("", 0.2)->add("n", 1); });
  CHECK(error.kind == CommError::Kind::timeout);
  CHECK_THAT(error.what(), ContainsSubstring("lock"));
}
