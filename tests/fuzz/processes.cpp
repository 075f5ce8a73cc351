// The parsers of what processes of a job are told: stores from both ends, words of failure, the environment, and what a
// launcher reads of its workers and of other launchers.
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <sstream>
#include <thread>

#include "../free_port.h"
#include "../scratch.h"
#include "engine.h"

#include <gradus/core/error.h>
#include <gradus/distributed/detail/abort_word.h>
#include <gradus/distributed/detail/fd.h>
#include <gradus/distributed/detail/store_socket.h>
#include <gradus/distributed/detail/store_wire.h>
#include <gradus/distributed/env.h>
#include <gradus/distributed/store.h>
#include <gradus/fmt.h>

#include "../../tools/gradus-run/options.h"
#include "../../tools/gradus-run/report.h"
#include "../../tools/gradus-run/verdict.h"
#include "../../tools/gradus-run/worker.h"

using namespace gradus;
using namespace std::literals;
using dist::detail::Answer, dist::detail::Ask, dist::detail::Fd, dist::detail::message;

namespace fuzz {
namespace {

// ---- a store's server, and what a client might say

/// Says it all, and listens to the answers until the server has had enough.
void converse(int port, std::string_view bytes) {
  const Fd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_in address = loopback(port);
  const linger at_once{1, 0};  // no port is kept for a while after each of millions of connections
  setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    throw std::runtime_error("the server does not listen");
  fcntl(fd.get(), F_SETFL, O_NONBLOCK);
  char answer[1 << 14];
  for (bool is_said = false;;) {
    if (bytes.empty() && !std::exchange(is_said, true)) shutdown(fd.get(), SHUT_WR);
    pollfd ready{fd.get(), static_cast<short>(bytes.empty() ? POLLIN : POLLIN | POLLOUT), 0};
    if (poll(&ready, 1, 10'000) == 0) throw std::runtime_error("the server does not answer");
    if (ready.revents & (POLLIN | POLLHUP | POLLERR)) {
      const ssize_t n = recv(fd.get(), answer, sizeof answer, 0);
      if (n == 0 || (n < 0 && errno != EAGAIN)) return;
    }
    if (ready.revents & POLLOUT) {
      const ssize_t n = send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n > 0) bytes.remove_prefix(static_cast<size_t>(n));
    }
  }
}

Parser store_requests() {
  const std::string hello = message(Ask::hello, {dist::detail::magic, "token"});
  const std::string requests = message(Ask::set, {"key", "value"}) + message(Ask::get, {"key", "100"}) +
                               message(Ask::find, {"other"}) + message(Ask::add, {"n", "-7"}) +
                               message(Ask::set_once, {"once", "x"}) + message(Ask::will, {"gone", "?"});
  struct Server {
    Box<dist::StoreServer> store;
    int inputs = 0;
  };
  const auto server = std::make_shared<Server>();
  return {"store, requests",
          {requests, requests + message(Ask::close, {}), message(Ask::get, {"absent", "1"}), ""},
          [server, hello](const std::string& bytes) {
            if (server->inputs++ % 200 == 0) server->store = make_box<dist::StoreServer>("127.0.0.1", 0, "token");
            const bool is_stranger = server->inputs % 5 == 0;  // its first message is what was damaged
            converse(server->store->port(), is_stranger ? bytes : hello + bytes);
            converse(server->store->port(), hello);  // it still serves others
          }};
}

// ---- a client, and what a server might say

/// Answers every client with the same bytes, and hangs up.
class FalseServer {
 public:
  FalseServer() : listener_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address = loopback(0);
    socklen_t size = sizeof address;
    bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), size);
    getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size);
    listen(listener_.get(), 16);
    port = ntohs(address.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  FalseServer(const FalseServer&) = delete;
  FalseServer& operator=(const FalseServer&) = delete;
  ~FalseServer() {
    shutdown(listener_.get(), SHUT_RDWR);
    thread_.join();
  }
  /// Nobody is connected when this is set.
  std::string answer;
  int port = 0;

 private:
  void serve() {
    for (;;) {
      const Fd client(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!client) return;
      send(client.get(), answer.data(), answer.size(), MSG_NOSIGNAL);
      shutdown(client.get(), SHUT_WR);
      char request[1 << 12];
      while (recv(client.get(), request, sizeof request, 0) > 0) {
      }
    }
  }
  const Fd listener_;
  std::thread thread_;
};

void use_all(dist::Store& store) {
  store.find("a");
  store.add("b", 5);
  store.set("c", "value");
  store.set_once("d", "value");
  store.get("e", 0.01);
  store.close();
}

Parser store_answers(const std::string& scheme, std::vector<std::string> seeds) {
  const auto server = std::make_shared<FalseServer>();
  return {.name = "store, answers of " + scheme,
          .seeds = std::move(seeds),
          .read =
              [server, scheme](const std::string& bytes) {
                server->answer = bytes;
                const std::string url = fmt::format("{}://127.0.0.1:{}", scheme, server->port);
                use_all(*dist::open_store(url, {.prefix = "job/", .timeout = 1}));
              },
          .samples = {"\xff\xff\xff\0 an answer of 16 MB, it says"s}};
}

Parser file_store() {
  const auto folder = std::make_shared<Scratch>();
  dist::open_store("file://" + folder->path(), {.prefix = "p"})->set("n", "1");
  std::string file;
  for (const auto& entry : std::filesystem::directory_iterator(folder->path()))
    if (const std::string name = entry.path().filename(); name.starts_with("key-")) file = entry.path();
  const std::shared_ptr<dist::Store> store(dist::open_store("file://" + folder->path(), {.prefix = "p"}).leak());
  return {"store, files", {"1", "-9223372036854775808", ""}, [folder, store, file](const std::string& bytes) {
            write_file(file, bytes);
            store->find("n");
            store->set_once("n", "x");
            store->add("n", 1);
          }};
}

// ---- the environment

/// Lines are given to a parser as strings, which are larger.
int64_t lines_of(const std::string& bytes) {
  return std::ssize(bytes) + 16 * std::count(bytes.begin(), bytes.end(), '\n');
}

/// Lines NAME=VALUE as the whole environment.
void detect_from(const std::string& lines) {
  std::vector<std::string> variables;
  std::istringstream in(lines);
  for (std::string line; std::getline(in, line);) variables.push_back(line.substr(0, line.find('\0')));
  std::vector<char*> pointers;
  for (std::string& variable : variables) pointers.push_back(variable.data());
  pointers.push_back(nullptr);
  struct Swap {
    char** const before = environ;
    ~Swap() { environ = before; }
  } const swap;
  environ = pointers.data();
  dist::Env::detect();
}

Parser environment() {
  return {"environment",
          {"RANK=1\nWORLD_SIZE=4\nLOCAL_RANK=1\nLOCAL_WORLD_SIZE=2\nGROUP_RANK=0\nGRADUS_STORE=tcp://h:1\n"
           "GRADUS_RUN_ID=x\nGRADUS_RESTART_COUNT=3\n",
           "RANK=0\nWORLD_SIZE=2\nLOCAL_RANK=0\nMASTER_ADDR=h\nMASTER_PORT=29500\nTORCHELASTIC_RESTART_COUNT=1\n",
           "JOB_COMPLETION_INDEX=1\nGRADUS_NNODES=3\nMASTER_ADDR=job-0.svc\n",
           "OMPI_COMM_WORLD_RANK=1\nOMPI_COMM_WORLD_SIZE=4\nOMPI_COMM_WORLD_LOCAL_RANK=1\n"
           "OMPI_COMM_WORLD_LOCAL_SIZE=2\nSLURM_NODELIST=n[01-04,7],m\n",
           "PMI_RANK=1\nPMI_SIZE=2\nMPI_LOCALRANKID=1\nMPI_LOCALNRANKS=2\nMASTER_ADDR=h\n",
           "SLURM_PROCID=3\nSLURM_STEP_ID=0\nSLURM_NTASKS=9\nSLURM_LOCALID=1\nSLURM_NODEID=1\n"
           "SLURM_TASKS_PER_NODE=4(x2),1\nSLURM_JOB_ID=12\nSLURM_JOB_NODELIST=n[01-03]\n"},
          detect_from,
          lines_of};
}

Parser addresses() {
  return {"host and port",
          {"tcp://node0:29400", "redis://[::1]:6379", "host:1", "[fe80::1]:65535"},
          [](const std::string& text) {
            dist::detail::Endpoint endpoint;
            dist::detail::Endpoint::parse(text, endpoint);
            dist::detail::Endpoint::of_url(text);
          }};
}

// ---- the launcher

const std::string nested = R"({"message": [[[[1, 2], {"a": {}}], []]], "kind": [0, 0, 0, 0]})";

Parser abort_words() {
  return {"abort word",
          {dist::detail::Failure{1, CommError::Kind::peer_lost, "rank 1 is gone"}.text(),
           R"({"rank": -1, "kind": "timeout", "message": "\u00e4"})", nested},
          [](const std::string& word) { dist::detail::Failure::parse(word); }};
}

Parser last_words() {
  const auto folder = std::make_shared<Scratch>();
  const auto worker = std::make_shared<run::Worker>(0, folder->path());
  return {"error file",
          {R"({"rank":0,"kind":"peer_lost","message":"a peer is gone"})", R"({"message":"\ud834\udd1e"})", nested},
          [folder, worker](const std::string& bytes) {
            write_file(worker->error_file(), bytes);
            if (const auto words = worker->last_words())
              run::report({1, 0, "rank 0 failed", false, words->message}, {{0, "host", "exit 1", "step 3", ""}}, 1);
          }};
}

/// The launcher maps the file that a worker writes to; it tells of it in messages, a table, and to other launchers.
Parser heartbeats() {
  struct Workers {
    Scratch folder, other_folder;
    run::Worker worker{0, folder.path()}, other{1, other_folder.path()};
  };
  const auto workers = std::make_shared<Workers>();
  const std::string now = bytes_of<int64_t>(1'000'000'000), step = bytes_of<int64_t>(417);
  const std::string never = bytes_of(INT64_MIN), phase = "forward\xff" + std::string(32, 'x');
  return {"heartbeat file",
          {now + step + "backward" + std::string(32, '\0'), std::string(56, '\0'), never + step + phase},
          [workers](const std::string& bytes) {
            const Fd file(open(workers->worker.heartbeat_file().c_str(), O_WRONLY | O_CLOEXEC));
            (void)!pwrite(file.get(), bytes.data(), std::min(bytes.size(), sizeof(dist::detail::HeartbeatPage)), 0);
            const run::Pulse& pulse = workers->worker.pulse();
            (void)pulse.silence();
            (void)pulse.is_behind(workers->other.pulse());
            const run::Rows rows = {{0, "host", "SIGKILL", pulse.text(), ""}};
            run::report({1, 0, pulse.text(), false, ""}, rows, 1);
            (void)run::to_text(rows);
          }};
}

template <class F>
void allow_json_errors(F&& parse) {
  try {
    parse();
  } catch (const nlohmann::json::exception& error) {
    throw Error(error.what());  // the launcher ends with its message
  }
}

Parser verdicts() {
  return {"verdict",
          {run::Verdict{3, 1, "rank 1 failed", true, "words"}.text(), run::Verdict{}.text()},
          [](const std::string& text) { allow_json_errors([&] { run::Verdict::parse(text).text(); }); }};
}

Parser rows() {
  const run::Rows two = {{0, "node0", "exit 1", "step 4, forward", "logs/0"}, {1, "node1", "SIGKILL", "", ""}};
  return {"rows", {nlohmann::json(two).dump(), "[]"}, [](const std::string& text) {
            allow_json_errors([&] { run::report({1, 1, "it failed", false, ""}, nlohmann::json::parse(text), 2); });
          }};
}

Parser arguments() {
  return {"arguments",
          {"--nproc\n4\n--nnodes\n2:3\n--rdzv\nh:29400\n--\n./train\n-x", "--heartbeat=2.5\n--stop-timeout\n3\nx"},
          [](const std::string& lines) {
            std::vector<std::string> words = {"gradus-run"};
            std::istringstream in(lines);
            for (std::string line; std::getline(in, line);) words.push_back(line.substr(0, line.find('\0')));
            std::vector<char*> argv;
            for (std::string& word : words) argv.push_back(word.data());
            argv.push_back(nullptr);
            try {
              run::parse_options(static_cast<int>(words.size()), argv.data());
            } catch (const run::UsageError& error) {
              throw Error(error.what());
            }
          },
          lines_of};
}

}  // namespace

std::vector<Parser> process_parsers() {
  const std::string done = message(Answer::done, {""});
  const std::string answers = done + message(Answer::done, {"value"}) + message(Answer::done, {"7"}) + done +
                              message(Answer::done, {"x"}) + message(Answer::done, {"y"}) + done;
  return {store_requests(),
          store_answers("tcp", {answers, done + message(Answer::none, {""}) + message(Answer::refused, {"no number"})}),
          store_answers("redis", {"+PONG\r\n$5\r\nvalue\r\n:7\r\n+OK\r\n:1\r\n$1\r\nx\r\n$0\r\n\r\n",
                                  "+PONG\r\n$-1\r\n", "-ERR no\r\n"}),
          file_store(),
          environment(),
          addresses(),
          abort_words(),
          last_words(),
          heartbeats(),
          verdicts(),
          rows(),
          arguments()};
}

}  // namespace fuzz
