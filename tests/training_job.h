// A small training with everything that has state, as a job of gradus-run: what its workers do, and a handle that
// starts it, kills parts of it, and reads what it said.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "catch.h"
#include "scratch.h"

#include <gradus/distributed/ddp.h>
#include <gradus/distributed/zero.h>
#include <gradus/fmt.h>
#include <gradus/gradus.h>

struct SmallNet : gradus::nn::Module {
  gradus::nn::Linear fc1{16, 48}, fc2{48, 4};
  gradus::nn::LayerNorm norm{48};
  gradus::nn::Dropout drop{0.2};
  gradus::Tensor forward(gradus::Tensor x) { return fc2(drop(relu(norm(fc1(x))))); }
  GRADUS_MODULE(fc1, fc2, norm, drop)
};

/// One rank of the training; what to do is in the environment. It says what step it resumed from, which it has done,
/// and which are safe; rank 0 leaves the weights behind.
class Worker {
 public:
  void run() {
    write_file(folder_ + "/pid-" + std::to_string(world_.rank()), std::to_string(getpid()));
    const gradus::optim::AdamWOptions options{.lr = 1e-2};
    gradus::manual_seed(5);
    SmallNet net;
    if (is_on("ZERO")) {
      const auto adamw = [&](const gradus::NamedTensors& slices) { return gradus::optim::AdamW(slices, options); };
      gradus::dist::ZeroOptimizer opt(net.parameters(), world_, adamw);
      train(net, opt);
    } else {
      gradus::optim::AdamW opt(net.parameters(), options);
      train(net, opt);
    }
  }

 private:
  static std::string variable(const char* name) {
    const char* const text = std::getenv(name);
    REQUIRE(text);
    return text;
  }
  static bool is_on(const char* name) { return variable(name) == "1"; }
  void say(const char* what, int64_t number) const {
    if (world_.rank() == 0) fmt::print("{} {}\n", what, number), std::fflush(stdout);
  }
  /// 150 examples whose transform draws random numbers.
  static gradus::data::TensorDataset examples() {
    gradus::Generator generator(8);
    const gradus::UseGenerator use(generator);
    return {gradus::randn({150, 16}), gradus::randint(4, {150}),
            [](const gradus::Tensor& x) { return x + gradus::rand(x.shape()) * 0.1; }};
  }
  /// Every thousand steps: resident memory in KiB and open files.
  void report_memory(int64_t step) const {
    if (step % 1000 != 0) return;
    std::istringstream pages(read_file("/proc/self/statm"));
    int64_t total = 0, resident = 0;
    pages >> total >> resident;
    say("memory", resident * sysconf(_SC_PAGESIZE) / 1024);
    say("files", std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {}));
  }

  /// However slow those are who want to kill it, they find a job that still runs.
  void wait_for_permission(int64_t step) const {
    say("waits", step);
    while (!std::filesystem::exists(folder_ + "/may-end")) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }

  template <class Optimizer>
  void train(SmallNet& net, Optimizer& opt) {
    using namespace gradus;
    constexpr int64_t every = 3;
    const bool async = is_on("ASYNC");
    const auto determinism = is_on("ANY_SIZE") ? dist::Determinism::world_size : dist::Determinism::run;
    const int64_t last = std::stoll(variable("STEPS"));
    optim::OneCycle schedule(opt, {.max_lr = 2e-2, .steps = last});
    data::DataLoader loader(examples(), {.batch = 16, .shuffle = true, .workers = 1, .group = world_, .shards = 8});
    dist::DDP ddp(net.parameters(), world_, {.determinism = determinism});
    data::Checkpointer checkpoints(folder_ + "/checkpoints", {.every = every, .async = async, .group = world_});
    int64_t step = checkpoints.resume(net, opt, schedule, loader);
    say("resumed", step);
    while (step < last && !checkpoints.stop())
      for (auto& [x, y] : loader) {
        if (step == last - 1) wait_for_permission(step);
        opt.zero_grad();
        ddp.backward(x, y,
                     [&](const Tensor& rows, const Tensor& classes) { return cross_entropy(net(rows), classes); });
        opt.step();
        schedule.step();
        std::this_thread::sleep_for(std::chrono::milliseconds(5));  // so that there is time to be killed
        if (checkpoints.step(++step, net, opt, schedule, loader)) say("saved", async ? step - every : step);
        say("step", step);
        report_memory(step);
        if (step == last || checkpoints.stop()) break;
      }
    checkpoints.wait();
    if (world_.rank() == 0) data::save_safetensors(folder_ + "/final.safetensors", net.state_dict());
  }

  const std::string folder_ = variable("FOLDER");
  const gradus::dist::ProcessGroup world_ = gradus::dist::init();
};

struct JobOptions {
  int64_t steps;
  bool async = false;     ///< checkpoints by a thread
  bool any_size = false;  ///< the same bits for any number of processes
  unsigned limit = 100;   ///< seconds after which the launcher, and with it all, is ended
};

/// A job of gradus-run, which may be started again.
class Job {
 public:
  explicit Job(const JobOptions& options) : options_(options) {}
  ~Job() { kill_all(); }
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  /// `zero`: with ZeroOptimizer.
  void start(int n, bool zero = false) {
    const std::string output = folder_ / "output";
    const std::vector<std::string> variables = {"FOLDER=" + folder_.path(),
                                                "STEPS=" + std::to_string(options_.steps),
                                                options_.async ? "ASYNC=1" : "ASYNC=0",
                                                options_.any_size ? "ANY_SIZE=1" : "ANY_SIZE=0",
                                                zero ? "ZERO=1" : "ZERO=0",
                                                "GRADUS_NUM_THREADS=1"};
    std::vector<std::string> words = {"env"};
    words.insert(words.end(), variables.begin(), variables.end());
    for (const char* word :
         {GRADUS_RUN, "--standalone", "--no-prefix", "--stop-timeout", "2", "--max-restarts", "30", "--nproc"})
      words.emplace_back(word);
    words.push_back(std::to_string(n));
    words.push_back(std::filesystem::read_symlink("/proc/self/exe"));
    words.emplace_back("worker: train");
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    launcher_ = fork();
    if (launcher_ == 0) {
      alarm(options_.limit);
      const int fd = open(output.c_str(), O_CREAT | O_WRONLY | O_APPEND, 0600);
      dup2(fd, 1);
      dup2(fd, 2);
      execvp(arguments[0], arguments.data());
      _exit(126);
    }
  }
  /// Waits until the workers have resumed once more and done `steps` steps, or all but the last one; false when the job
  /// ends first.
  bool wait_for_steps(int64_t steps) {
    for (;; std::this_thread::sleep_for(std::chrono::milliseconds(2))) {
      const bool ended = waitpid(launcher_, &status_, WNOHANG) == launcher_;
      if (ended) launcher_ = 0;
      const Progress now = progress();
      if (now.resumes > resumes_ && (now.waits || now.last - now.resumed >= steps))
        return resumes_ = now.resumes, !ended;
      if (ended) return false;
    }
  }
  /// The launcher, and with it all workers.
  void kill_all() {
    if (launcher_ == 0) return;
    kill(launcher_, SIGKILL);
    waitpid(std::exchange(launcher_, 0), &status_, 0);
  }
  /// A worker, if it is still there.
  void kill_rank(int rank) {
    const std::string pid = read_file(folder_ / ("pid-" + std::to_string(rank)));
    std::error_code gone;
    if (std::filesystem::read_symlink("/proc/" + pid + "/exe", gone) == std::filesystem::read_symlink("/proc/self/exe"))
      kill(static_cast<pid_t>(std::stol(pid)), SIGKILL);
  }
  /// As a batch system ends a job.
  void stop() { kill(launcher_, SIGTERM); }
  /// Lets the job end.
  int exit_code() {
    write_file(folder_ / "may-end", "");
    if (launcher_ != 0) waitpid(std::exchange(launcher_, 0), &status_, 0);
    return WIFEXITED(status_) ? WEXITSTATUS(status_) : -1;
  }
  std::string output() const { return read_file(folder_ / "output"); }
  std::string weights() const { return read_file(folder_ / "final.safetensors"); }
  struct Memory {
    int64_t kib = 0, files = 0;
  };
  /// What rank 0 had when it looked last.
  Memory memory() const {
    const Progress now = progress();
    return {now.kib, now.files};
  }
  /// Whether a resume ever went back behind a save that was acknowledged.
  bool lost_something() const { return progress().lost; }

 private:
  struct Progress {
    int resumes = 0;
    int64_t resumed = 0, last = 0, saved = 0;  // steps
    int64_t kib = 0, files = 0;
    bool waits = false;  // for permission to do the last step
    bool lost = false;
  };
  Progress progress() const {
    std::istringstream lines(output());
    Progress p;
    for (std::string line; std::getline(lines, line);) {
      const auto number = [&](std::string_view word) -> std::optional<int64_t> {
        if (!line.starts_with(word)) return {};
        return std::strtoll(line.c_str() + word.size(), nullptr, 10);
      };
      if (const auto step = number("step ")) p.last = *step;
      if (const auto step = number("saved ")) p.saved = std::max(p.saved, *step);
      if (number("waits ")) p.waits = true;
      if (const auto kib = number("memory ")) p.kib = *kib;
      if (const auto files = number("files ")) p.files = *files;
      if (const auto step = number("resumed ")) {
        ++p.resumes;
        p.resumed = p.last = *step;
        p.waits = false;
        p.lost |= *step < p.saved;
      }
    }
    return p;
  }

  const JobOptions options_;
  const Scratch folder_;
  pid_t launcher_ = 0;
  int status_ = 0, resumes_ = 0;
};
