// What becomes of a process group whose ranks do different things, that does not come together, or that strangers talk
// to: a typed error that says what each one did, never a wrong result. The figure R12 is printed.
#include <dirent.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include <fmt/format.h>

#include "catch.h"
#include "moment.h"
#include "ranks.h"
#include "thread_ranks.h"
#include "told_errors.h"

#include <gradus/distributed/detail/group.h>
#include <gradus/gradus.h>

using namespace gradus;
using Catch::Matchers::ContainsSubstring;
using dist::ProcessGroup;
using dist::ReduceOp;
using Kind = CommError::Kind;

// ---- mistakes

namespace {

struct Mistake {
  const char* name;
  void (*one)(ProcessGroup& group);    ///< what rank 1 does
  void (*other)(ProcessGroup& group);  ///< what the others do
  Kind kind;
  const char* text;
};

void reduce_floats(ProcessGroup& group) { group.all_reduce(zeros({1000})).wait(); }

const Mistake mistakes[] = {
    {"count", [](ProcessGroup& g) { g.all_reduce(zeros({2000})).wait(); }, reduce_floats, Kind::mismatch,
     "rank 0: all_reduce #2 float32[1000] sum, rank 1: all_reduce #2 float32[2000] sum"},
    {"dtype", [](ProcessGroup& g) { g.all_reduce(zeros({1000}, {.dtype = int32})).wait(); }, reduce_floats,
     Kind::mismatch, "rank 1: all_reduce #2 int32[1000] sum"},
    {"reduction", [](ProcessGroup& g) { g.all_reduce(zeros({1000}), ReduceOp::max).wait(); }, reduce_floats,
     Kind::mismatch, "rank 1: all_reduce #2 float32[1000] max"},
    {"operation", [](ProcessGroup& g) { g.broadcast(zeros({1000})).wait(); }, reduce_floats, Kind::mismatch,
     "rank 0: all_reduce #2 float32[1000] sum, rank 1: broadcast #2 float32[1000] from 0"},
    {"root", [](ProcessGroup& g) { g.broadcast(zeros({1000}), 1).wait(); },
     [](ProcessGroup& g) { g.broadcast(zeros({1000}), 0).wait(); }, Kind::mismatch,
     "rank 0: broadcast #2 float32[1000] from 0, rank 1: broadcast #2 float32[1000] from 1"},
    {"barrier", [](ProcessGroup& g) { g.barrier(); }, reduce_floats, Kind::mismatch, "rank 1: barrier #2"},
    {"message", [](ProcessGroup& g) { g.recv(zeros({20}), 0).wait(); },
     [](ProcessGroup& g) {
       if (g.rank() == 0) g.send(zeros({10}), 1).wait();
       g.barrier();
     },
     Kind::mismatch, "send #1 float32[10]"},
    {"two sends", [](ProcessGroup& g) { g.send(zeros({10}), 0).wait(); },
     [](ProcessGroup& g) {
       if (g.rank() == 0) g.send(zeros({10}), 1).wait();
       g.barrier();
     },
     Kind::mismatch, "send and receive do not fit"},
    // Without comparing first, messages that differ never meet; the roll call tells what each rank does.
    {"count, unchecked",
     [](ProcessGroup& g) { dist::detail::all_reduce_unchecked(g, zeros({2000}), ReduceOp::sum).wait(); },
     [](ProcessGroup& g) { dist::detail::all_reduce_unchecked(g, zeros({1000}), ReduceOp::sum).wait(); },
     Kind::mismatch,
     "rank 0: all_reduce #2 float32[1000] sum (not compared), rank 1: all_reduce #2 float32[2000] sum (not compared)"},
    {"checked, unchecked",
     [](ProcessGroup& g) { dist::detail::all_reduce_unchecked(g, zeros({1000}), ReduceOp::sum).wait(); }, reduce_floats,
     Kind::mismatch, "rank 0: all_reduce #2 float32[1000] sum, rank 1: all_reduce #2 float32[1000] sum (not compared)"},
};

}  // namespace

TEST_CASE("ranks: make a mistake", "[.]") {
  ProcessGroup group = dist::init({.timeout = timeout_setting()});
  group.barrier();
  meet(group.size());  // else a failure ends the barrier of one that is slow
  const Mistake& mistake = mistakes[std::stoul(setting("TEST_MISTAKE"))];
  tell_begin();
  until_error(group, [&] { (group.rank() == 1 ? mistake.one : mistake.other)(group); });
}

TEST_CASE("ranks that differ are told so, all of them") {
  if (!can_have_ranks()) return;
  constexpr double timeout = 3;  // of those that nobody compares; the others do not wait for theirs
  double slowest = 0, overdue = 0;
  int silent = 0;
  for (size_t i = 0; i < std::size(mistakes); ++i) {
    const Mistake& mistake = mistakes[i];
    const bool waits = std::string_view(mistake.text).find("not compared") != std::string_view::npos;
    Ranks ranks(
        3, "ranks: make a mistake",
        {.variables = {{"TEST_MISTAKE", std::to_string(i)}, {"TEST_TIMEOUT", waits ? std::to_string(timeout) : "30"}}});
    const auto& ends = ranks.wait();
    INFO(mistake.name << "\n" << ranks.all_output());
    for (const Ranks::End& end : ends) {
      CHECK(end.code == 0);
      const auto error = caught(end.output);
      silent += !error;
      REQUIRE(error);
      CHECK(error->kind == mistake.kind);
      CHECK_THAT(error->text, ContainsSubstring(mistake.text));
      const double seconds = seconds_to_error(end.output).value_or(99);
      slowest = std::max(slowest, waits ? 0 : seconds);
      overdue = std::max(overdue, waits ? seconds : 0);
    }
  }
  figure("R12", slowest, "< 1 s where ranks compare what they do");
  figure("R12", overdue, fmt::format("< {} s where they do not, timeout {} s", timeout + 1, timeout));
  figure("R12", silent, fmt::format("silent results of {} kinds of mismatch, want 0", std::size(mistakes)));
  CHECK(slowest < 1);
  CHECK(overdue < timeout + 1);
}

// ---- the start

TEST_CASE("ranks: fail to start", "[.]") {
  if (setting("TEST_TOGETHER") == "1") meet(2);  // one timeout for both
  const Moment begin;
  try {
    dist::init({.timeout = timeout_setting()});
    FAIL("it did start");
  } catch (const CommError& error) {
    tell(error);
    CHECK(error.kind == Kind::setup);
    CHECK(seconds_since(begin) < timeout_setting() + 1);
    CHECK_THAT(error.what(), ContainsSubstring(setting("TEST_WANT")));
  }
}

TEST_CASE("ranks: start", "[.]") {
  ProcessGroup group = dist::init();
  group.barrier();
}

TEST_CASE("who is missing at the start is named") {
  run_ranks(2, "ranks: fail to start",
            {.variables = {{"WORLD_SIZE", "4"},
                           {"LOCAL_WORLD_SIZE", "4"},
                           {"TEST_TOGETHER", "1"},
                           {"TEST_TIMEOUT", "2"},
                           {"TEST_WANT", "2 of 4 processes did not come"}}});
}

TEST_CASE("a wrong token, and a store that is not there, are told at the start") {
  dist::StoreServer server("127.0.0.1", 0, "right");
  const std::string url = fmt::format("tcp://127.0.0.1:{}", server.port());
  run_ranks(2, "ranks: fail to start",
            {.store = url, .variables = {{"GRADUS_STORE_TOKEN", "wrong"}, {"TEST_WANT", "token"}}});
  run_ranks(1, "ranks: fail to start",
            {.store = "file:///proc/no/such/folder",
             .variables = {{"WORLD_SIZE", "2"}, {"TEST_TIMEOUT", "1"}, {"TEST_WANT", "/proc/no/such/folder"}}});
}

TEST_CASE("keys left over from an earlier job are noticed") {
  if (!can_have_ranks()) return;
  const Scratch scratch;
  const std::string url = "file://" + (scratch / "store");
  run_ranks(2, "ranks: start", {.store = url});
  run_ranks(2, "ranks: fail to start", {.store = url, .variables = {{"TEST_WANT", "has come to the store"}}});
  run_ranks(2, "ranks: start", {.store = url, .variables = {{"GRADUS_RESTART_COUNT", "1"}}});
}

// ---- a stranger

namespace {

/// The TCP ports on which a process listens.
std::vector<int> listening_ports(pid_t process) {
  std::set<std::string> sockets;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(fmt::format("/proc/{}/fd", process), ignored))
    sockets.insert(std::filesystem::read_symlink(entry.path(), ignored).string());
  std::vector<int> ports;
  std::ifstream table("/proc/net/tcp");
  std::string line;
  std::getline(table, line);  // titles
  while (std::getline(table, line)) {
    unsigned address = 0, port = 0, state = 0, inode = 0;
    constexpr unsigned listening = 0x0a;
    if (std::sscanf(line.c_str(), " %*d: %x:%x %*x:%*x %x %*s %*s %*s %*d %*d %u", &address, &port, &state, &inode) !=
            4 ||
        state != listening)
      break;  // those come first, and thousands of connections that have ended may follow
    if (sockets.count(fmt::format("socket:[{}]", inode))) ports.push_back(static_cast<int>(port));
  }
  return ports;
}

/// Connects to the port of this machine, writes, and keeps the connection until the end.
class Stranger {
 public:
  Stranger(int port, const std::string& bytes) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0)
      (void)!::write(fd_, bytes.data(), bytes.size());
  }
  Stranger(Stranger&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Stranger& operator=(Stranger&&) = delete;
  ~Stranger() {
    if (fd_ >= 0) ::close(fd_);
  }

 private:
  int fd_;
};

}  // namespace

TEST_CASE("ranks: are met by a stranger", "[.]") {
  ProcessGroup group = dist::init({.timeout = timeout_setting()});
  tell_begin();
  if (group.rank() == 1)  // the port of rank 0 is open, and waits for this rank
    wait_for_file(setting("TEST_GO"));
  const Tensor x = ones({1000});
  try {
    group.all_reduce(x).wait();
    CHECK(x.data<float>()[999] == 2);  // the stranger did no harm
  } catch (const CommError& error) {
    tell(error);
  }
}

TEST_CASE("a stranger at a port of a rank is an error in time, never a wrong result") {
  if (!can_have_ranks()) return;
  constexpr double timeout = 2;
  for (const std::string& bytes :
       {std::string(96, '\xff'), std::string(96, '\0'), std::string("GET / HTTP/1.0\r\n\r\n")}) {
    const Scratch scratch;
    const std::string go = scratch / "go";
    Ranks ranks(2, "ranks: are met by a stranger",
                {.limit = 20, .variables = {{"TEST_TIMEOUT", std::to_string(timeout)}, {"TEST_GO", go}}});
    std::vector<int> ports;
    while (ports.empty() && ranks.seconds() < 10) {
      ports = listening_ports(ranks.process(0));
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    if (ports.empty()) FAIL("rank 0 listens nowhere\n" << ranks.all_output());
    std::vector<Stranger> strangers;
    for (const int port : ports) strangers.emplace_back(port, bytes);
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    write_file(go, "");
    const auto& ends = ranks.wait();
    INFO(ranks.all_output());
    for (const Ranks::End& end : ends) {
      CHECK_FALSE(end.hung);
      CHECK(end.signal == 0);
      CHECK(end.code == 0);
      if (caught(end.output)) CHECK(seconds_to_error(end.output).value_or(99) < timeout + 1);
    }
  }
}

// ---- what is left behind

TEST_CASE("a failure leaves a record of the last operations") {
  if (!can_have_ranks()) return;
  const Scratch scratch;
  Ranks ranks(
      3, "ranks: make a mistake",
      {.variables = {{"TEST_MISTAKE", "0"}, {"TEST_TIMEOUT", "5"}, {"GRADUS_FLIGHT_RECORDER", scratch.path()}}});
  const auto& ends = ranks.wait();
  INFO(ranks.all_output());
  for (int rank = 0; rank < 3; ++rank) {
    CHECK(ends[static_cast<size_t>(rank)].code == 0);
    const std::string record = read_file(scratch / fmt::format("flight-world-rank{}.txt", rank));
    CHECK_THAT(record, ContainsSubstring("ranks differ"));
    CHECK_THAT(record, ContainsSubstring("done     barrier #1"));
    CHECK_THAT(record, ContainsSubstring("failed   all_reduce #2"));
  }
  // Without a folder, or with one that is not there, it is the log that has them.
  for (const std::string& folder : {std::string(), scratch / "absent"}) {
    std::map<std::string, std::string> variables = {{"TEST_MISTAKE", "0"}, {"TEST_TIMEOUT", "5"}};
    if (!folder.empty()) variables["GRADUS_FLIGHT_RECORDER"] = folder;
    Ranks logging(2, "ranks: make a mistake", {.variables = variables});
    logging.wait();
    for (int rank = 0; rank < 2; ++rank)
      CHECK_THAT(logging.output(rank), ContainsSubstring("its last operations:\ndone     barrier #1"));
  }
}
