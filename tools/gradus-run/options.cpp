// The command line, and what Kubernetes' PyTorchJob and Slurm say instead of it.
#include "options.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <map>

#include <fmt/format.h>

#include <gradus/core/backend.h>
#include <gradus/distributed/detail/store_socket.h>

#include "cores.h"

namespace gradus::run {

const char* const usage = R"(usage: gradus-run [options] program [arguments]
Starts a program several times, on one machine or many, watches over the processes, and starts all of them again when
one fails. Each finds its rank in the environment; gradus::dist::init() does the rest.

  gradus-run --nproc 4 ./train                    four processes here
  gradus-run --nproc auto --max-restarts 3 ./train --epochs 10
                                                  one for each GPU; up to three new starts after failures
  gradus-run --nproc 8 --nnodes 2 --rdzv node0:29400 ./train
                                                  the same line on two machines, the first of which is node0

processes
  --nproc N|auto|gpu|cpu on this machine (1); gpu: one for each CUDA device; auto: the same, or one where there is none;
                         cpu: one for each core
  --bind-cores           gives each its own share of the cores
several machines
  --nnodes N|MIN:MAX     how many machines (1); with MIN:MAX it goes on with fewer when more do not come
  --rdzv HOST:PORT       where they meet: the first machine, which serves the store there
  --node-rank N          number of this machine; 0 is the first. Without it, that is the one to which HOST belongs
  --rdzv-id ID           name of the job: those who meet must agree on it (job; on one machine a new one)
  --rdzv-timeout S       how long to wait for the machines (600)
  --last-call S          how long to wait for more than MIN of them (30)
  --standalone           one machine, whatever the environment says
failures
  --max-restarts K       how often to start all processes again after one has failed (0)
  --stop-timeout S       between SIGTERM and SIGKILL (30)
  --heartbeat S          a process that makes no step for so long hangs: it is named, and the attempt fails (off)
output
  --redirect DIR         each process writes to DIR/ATTEMPT/rankR.log
  --tee                  and to the terminal, too
  --log-prefix           begins each line with "[rankR]: " (where there are several processes)
  --no-prefix            does not
  --help, --version

Exit code: 0 when all processes ended with 0; else that of the first that failed, 128 + n for signal n. A process that
ends with 75 has saved and wants to be queued again: that is no reason for a new start here. SIGINT, SIGTERM and SIGHUP
go to all processes, which have --stop-timeout to end; a second one ends them at once. SIGUSR1 and SIGUSR2 are passed
on. Defaults come from the variables PET_NNODES, PET_NPROC_PER_NODE, PET_NODE_RANK, PET_RDZV_ENDPOINT or
PET_MASTER_ADDR and PET_MASTER_PORT, PET_RDZV_ID, PET_MAX_RESTARTS; the node's rank also from SLURM_NODEID and
JOB_COMPLETION_INDEX. GRADUS_STORE_TOKEN is a secret that all machines of a job know. docs/distributed.md says more.
)";

namespace {

using Text = const std::string&;

int integer(Text name, Text text, int least, int most) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < least || value > most)
    throw UsageError(fmt::format("{} {}: want a number from {} to {}", name, text, least, most));
  return value;
}

double seconds(Text name, Text text) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (text.empty() || *end || !(value >= 0) || value > 1e7)
    throw UsageError(fmt::format("{} {}: want seconds, 0 or more", name, text));
  return value;
}

std::string short_text(Text name, Text text) {
  if (text.empty() || text.size() > 200) throw UsageError(fmt::format("{}: want 1 to 200 characters", name));
  return text;
}

int processes(Text name, Text text) {
  if (text == "cpu") return static_cast<int>(usable_cores().size());
  if (text != "auto" && text != "gpu") return integer(name, text, 1, 4096);
  Backend* const backend = find_cuda_backend();
  const int devices = backend ? backend->device_count() : 0;
  if (devices == 0 && text == "gpu")
    throw UsageError(fmt::format("{} gpu: no CUDA device; gradus-doctor says why", name));
  return std::max(devices, 1);
}

std::string meeting_place(Text name, Text text) {
  dist::detail::Endpoint endpoint;
  if (!dist::detail::Endpoint::parse(text, endpoint) || endpoint.port == 0)
    throw UsageError(fmt::format("{} {}: want HOST:PORT with a port from 1 to 65535", name, text));
  return text;
}

void nodes(Options& options, Text name, Text text) {
  const size_t colon = text.find(':');
  options.min_nodes = integer(name, text.substr(0, colon), 1, 65536);
  options.max_nodes =
      colon == text.npos ? options.min_nodes : integer(name, text.substr(colon + 1), options.min_nodes, 65536);
}

struct Option {
  const char* name;
  bool takes_value;
  std::function<void(Options&, Text name, Text value)> set;
};

const std::vector<Option>& all_options() {
  static const std::vector<Option> all = {
      {"--nproc", true, [](Options& o, Text name, Text value) { o.nproc = processes(name, value); }},
      {"--nnodes", true, nodes},
      {"--rdzv", true, [](Options& o, Text name, Text value) { o.rdzv = meeting_place(name, value); }},
      {"--node-rank", true, [](Options& o, Text name, Text value) { o.node_rank = integer(name, value, 0, 65535); }},
      {"--rdzv-id", true, [](Options& o, Text name, Text value) { o.job = short_text(name, value); }},
      {"--rdzv-timeout", true, [](Options& o, Text name, Text value) { o.rdzv_timeout = seconds(name, value); }},
      {"--last-call", true, [](Options& o, Text name, Text value) { o.last_call = seconds(name, value); }},
      {"--standalone", false,
       [](Options& o, Text, Text) {
         o.min_nodes = o.max_nodes = 1;
         o.node_rank.reset();
         o.rdzv.clear();
       }},
      {"--max-restarts", true,
       [](Options& o, Text name, Text value) { o.max_restarts = integer(name, value, 0, 1 << 20); }},
      {"--stop-timeout", true, [](Options& o, Text name, Text value) { o.stop_timeout = seconds(name, value); }},
      {"--heartbeat", true, [](Options& o, Text name, Text value) { o.heartbeat = seconds(name, value); }},
      {"--redirect", true, [](Options& o, Text, Text value) { o.redirect = value; }},
      {"--tee", false, [](Options& o, Text, Text) { o.tee = true; }},
      {"--log-prefix", false, [](Options& o, Text, Text) { o.prefix = true; }},
      {"--no-prefix", false, [](Options& o, Text, Text) { o.prefix = false; }},
      {"--bind-cores", false, [](Options& o, Text, Text) { o.bind_cores = true; }},
      {"--help", false, [](Options& o, Text, Text) { o.help = true; }},
      {"-h", false, [](Options& o, Text, Text) { o.help = true; }},
      {"--version", false, [](Options& o, Text, Text) { o.version = true; }},
  };
  return all;
}

/// What those who come from torchrun may have meant; with a semicolon before it, or empty.
std::string hint_for(std::string name) {
  std::replace(name.begin(), name.end(), '_', '-');
  static const std::map<std::string, const char*> hints = {
      {"--nproc-per-node", "here it is --nproc"},
      {"--rdzv-endpoint", "here it is --rdzv"},
      {"--master-addr", "here it is --rdzv HOST:PORT"},
      {"--master-port", "here it is --rdzv HOST:PORT"},
      {"--log-dir", "here it is --redirect"},
      {"--redirects", "here it is --redirect"},
      {"--rdzv-backend", "there is only one here, leave it out"},
      {"--monitor-interval", "ends are noticed at once here, leave it out"},
      {"--no-python", "any program is started here, leave it out"},
  };
  if (const auto hint = hints.find(name); hint != hints.end()) return fmt::format("; {}", hint->second);
  for (const Option& option : all_options())
    if (name == option.name) return "; here it is " + name;
  return "";
}

const Option& find_option(Text name) {
  for (const Option& option : all_options())
    if (name == option.name) return option;
  throw UsageError(fmt::format("unknown option {}{}", name, hint_for(name)));
}

std::string variable(const char* name) {
  const char* const text = std::getenv(name);
  return text ? text : "";
}

void read_environment(Options& options) {
  const auto apply = [&options](const char* name, const char* option) {
    if (const std::string value = variable(name); !value.empty()) find_option(option).set(options, name, value);
  };
  apply("PET_NNODES", "--nnodes");
  apply("PET_NPROC_PER_NODE", "--nproc");
  if (const std::string host = variable("PET_MASTER_ADDR"), port = variable("PET_MASTER_PORT"); !host.empty())
    options.rdzv = meeting_place("PET_MASTER_ADDR and PET_MASTER_PORT", host + ':' + (port.empty() ? "29400" : port));
  apply("PET_RDZV_ENDPOINT", "--rdzv");
  apply("PET_RDZV_ID", "--rdzv-id");
  apply("PET_MAX_RESTARTS", "--max-restarts");
  if (!variable("SLURM_STEP_ID").empty()) apply("SLURM_NODEID", "--node-rank");
  apply("JOB_COMPLETION_INDEX", "--node-rank");
  apply("PET_NODE_RANK", "--node-rank");
}

void check(const Options& options) {
  if (options.help || options.version) return;
  if (options.command.empty()) throw UsageError("no program to start");
  if (options.max_nodes > 1 && options.rdzv.empty())
    throw UsageError("--nnodes asks for several machines: where do they meet? Give --rdzv HOST:PORT");
  if (options.tee && options.redirect.empty()) throw UsageError("--tee goes with --redirect DIR");
}

}  // namespace

Options parse_options(int argc, char** argv) {
  Options options;
  read_environment(options);
  int i = 1;
  for (; i < argc && argv[i][0] == '-'; ++i) {
    const std::string word = argv[i];
    if (word == "--") {
      ++i;
      break;
    }
    const size_t equals = word.starts_with("--") ? word.find('=') : word.npos;
    const std::string name = word.substr(0, equals);
    const Option& option = find_option(name);
    std::string value;
    if (equals != word.npos) {
      if (!option.takes_value) throw UsageError(fmt::format("{} takes no value", name));
      value = word.substr(equals + 1);
    } else if (option.takes_value) {
      if (++i == argc) throw UsageError(fmt::format("{} needs a value", name));
      value = argv[i];
    }
    option.set(options, name, value);
  }
  options.command.assign(argv + i, argv + argc);
  check(options);
  // Two jobs of one folder must not take each other's files when they are started again.
  if (options.job.empty())
    options.job = options.rdzv.empty() ? fmt::format("{}-{}", getpid(), std::time(nullptr)) : "job";
  return options;
}

}  // namespace gradus::run
