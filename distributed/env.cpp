// Whose child this process is, told by its environment. Each starter has a function that reads what it sets; what two
// of them have in common (a store given by hand, checks) is done once, at the end.
#include <gradus/distributed/env.h>

#include <unistd.h>

#include <charconv>
#include <cstdlib>
#include <optional>

#include <fmt/format.h>

#include <gradus/core/backend.h>
#include <gradus/core/error.h>
#include <gradus/distributed/detail/env_slurm.h>

namespace gradus::dist {
namespace {

using std::string;

constexpr int max_processes = 1 << 20, default_port = 29500;

/// A variable's text; one that is set to nothing counts as not set.
std::optional<string> variable(const char* name) {
  const char* const text = std::getenv(name);
  if (!text || !*text) return {};
  return text;
}

[[noreturn]] void fail(const string& starter, const string& reason) {
  throw CommError(fmt::format("Env::detect: {}: {}", starter, reason));
}

/// The variables of one starter, which its errors name.
class Variables {
 public:
  explicit Variables(const char* starter) : starter_(starter) {}

  std::optional<int> find_number(const char* name, int least, int most) const {
    const auto text = variable(name);
    if (!text) return {};
    int value = 0;
    const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
    if (error != std::errc() || end != text->data() + text->size() || value < least || value > most)
      fail(starter_, fmt::format("{}={}; want a number from {} to {}", name, *text, least, most));
    return value;
  }
  int number(const char* name, int least, int most) const {
    const auto value = find_number(name, least, most);
    if (!value) fail(starter_, fmt::format("the variable {} is missing", name));
    return *value;
  }
  std::optional<int> find_rank(const char* name) const { return find_number(name, 0, max_processes - 1); }
  int rank(const char* name) const { return number(name, 0, max_processes - 1); }
  std::optional<int> find_size(const char* name) const { return find_number(name, 1, max_processes); }
  int size(const char* name) const { return number(name, 1, max_processes); }
  std::optional<int> find_port(const char* name) const { return find_number(name, 1, 65535); }

 private:
  string starter_;
};

string tcp_url(const string& host, int port) {
  return host.find(':') == host.npos ? fmt::format("tcp://{}:{}", host, port)
                                     : fmt::format("tcp://[{}]:{}", host, port);
}

/// The same port for all processes of a job and most likely another one for each job, below those that the kernel gives
/// to connections.
int port_of_job(const string& job) {
  uint32_t hash = 2166136261;  // FNV-1a
  for (const char c : job) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619;
  return 20000 + static_cast<int>(hash % 10000);
}

/// Where rank 0 is to serve the store. Without MASTER_ADDR: `host`; on one machine, the loopback.
void meet_at(Env& env, const Variables& from, std::optional<string> host, int port, const char* hint) {
  if (variable("GRADUS_STORE") || env.size == 1) return;
  if (const auto given = variable("MASTER_ADDR")) host = given;
  if (!host && env.local_size == env.size) host = "127.0.0.1";
  if (!host) fail(env.starter, fmt::format("the variable MASTER_ADDR is missing; {}", hint));
  port = from.find_port("MASTER_PORT").value_or(port);
  // With this word torchrun's agent listens on that port itself, and speaks another language.
  if (variable("TORCHELASTIC_USE_AGENT_STORE") == "True") port += port < 65535 ? 1 : -1;
  env.store = tcp_url(*host, port);
  env.hosts_store = env.rank == 0;
}

/// RANK, WORLD_SIZE and so on, which gradus-run, torchrun and PyTorchJob set.
std::optional<Env> from_torchrun() {
  if (!variable("RANK")) return {};
  Env env;
  const bool has_local = variable("LOCAL_RANK").has_value();
  env.starter = variable("GRADUS_RESTART_COUNT")                    ? "gradus-run"
                : !has_local && variable("KUBERNETES_SERVICE_HOST") ? "Kubernetes"
                                                                    : "torchrun";
  const Variables from(env.starter.c_str());
  env.rank = from.rank("RANK");
  env.size = from.size("WORLD_SIZE");
  if (has_local) {
    env.local_rank = from.rank("LOCAL_RANK");
    env.local_size = from.find_size("LOCAL_WORLD_SIZE").value_or(env.local_rank + 1);
    env.node = from.find_rank("GROUP_RANK").value_or(0);
  } else {
    env.node = env.rank;
    if (from.find_size("PET_NPROC_PER_NODE").value_or(1) > 1)
      fail(env.starter, "PET_NPROC_PER_NODE asks for several processes in a pod; let gradus-run start them");
  }
  env.job = variable("TORCHELASTIC_RUN_ID").value_or("");
  env.attempt = from.find_number("TORCHELASTIC_RESTART_COUNT", 0, 1 << 30).value_or(0);
  if (variable("GRADUS_STORE")) return env;
  if (env.starter == "gradus-run") fail(env.starter, "the variable GRADUS_STORE is missing");
  meet_at(env, from, {}, default_port, "rank 0 serves the store there");
  return env;
}

/// An indexed Job with a headless service: one process in each pod.
std::optional<Env> from_kubernetes() {
  if (!variable("JOB_COMPLETION_INDEX")) return {};
  Env env;
  env.starter = "Kubernetes";
  const Variables from("Kubernetes");
  env.rank = env.node = from.rank("JOB_COMPLETION_INDEX");
  env.size = from.size("GRADUS_NNODES");
  meet_at(env, from, {}, default_port, "in the manifest, set it to the name of the first pod, <job>-0.<service>");
  return env;
}

constexpr const char* mpi_hint =
    "on several machines give it to mpirun (OpenMPI: -x MASTER_ADDR=<host of rank 0>; MPICH: -genv MASTER_ADDR <host "
    "of "
    "rank 0>), or GRADUS_STORE=file:///<shared folder>";

/// Below srun or in an allocation of Slurm, rank 0 is on its first machine.
std::optional<string> slurm_host(const char* starter) {
  for (const char* name : {"SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST", "SLURM_NODELIST"})
    if (const auto list = variable(name)) {
      if (const auto host = detail::first_host(*list)) return host;
      fail(starter, fmt::format("{}={}; want a list of hosts such as node[01-04]", name, *list));
    }
  return {};
}

std::optional<Env> from_openmpi() {
  if (!variable("OMPI_COMM_WORLD_RANK")) return {};
  Env env;
  env.starter = "OpenMPI";
  const Variables from("OpenMPI");
  env.rank = from.rank("OMPI_COMM_WORLD_RANK");
  env.size = from.size("OMPI_COMM_WORLD_SIZE");
  env.local_rank = from.rank("OMPI_COMM_WORLD_LOCAL_RANK");
  env.local_size = from.size("OMPI_COMM_WORLD_LOCAL_SIZE");
  env.node = env.rank / env.local_size;
  env.job = variable("PMIX_NAMESPACE").value_or(variable("OMPI_MCA_ess_base_jobid").value_or("mpi"));
  meet_at(env, from, slurm_host("OpenMPI"), port_of_job(env.job), mpi_hint);
  return env;
}

std::optional<Env> from_mpich() {
  const auto rank = variable("PMI_RANK");
  // srun --mpi=pmi2 sets these, too, and knows more.
  if (!rank || (rank == variable("SLURM_PROCID") && variable("SLURM_STEP_ID"))) return {};
  Env env;
  env.starter = "MPICH";
  const Variables from("MPICH");
  env.rank = from.rank("PMI_RANK");
  env.size = from.size("PMI_SIZE");
  env.local_rank = from.find_rank("MPI_LOCALRANKID").value_or(0);
  env.local_size = from.find_size("MPI_LOCALNRANKS").value_or(1);
  env.node = env.rank / env.local_size;
  env.job = "mpich";
  // It says nothing that all processes share, but those of one machine are children of the same one.
  const int port = env.local_size == env.size ? port_of_job(std::to_string(getppid())) : default_port;
  meet_at(env, from, slurm_host("MPICH"), port, mpi_hint);
  return env;
}

/// Processes of srun. (The script of a batch job has Slurm's variables as well, but no step: it is one process.)
std::optional<Env> from_slurm() {
  if (!variable("SLURM_PROCID") || !(variable("SLURM_STEP_ID") || variable("SLURM_STEPID"))) return {};
  Env env;
  env.starter = "Slurm";
  const Variables from("Slurm");
  env.rank = from.rank("SLURM_PROCID");
  const auto tasks = from.find_size("SLURM_STEP_NUM_TASKS");
  env.size = tasks ? *tasks : from.size("SLURM_NTASKS");
  env.local_rank = from.rank("SLURM_LOCALID");
  env.node = from.rank("SLURM_NODEID");
  env.local_size = env.local_rank + 1;
  for (const char* name : {"SLURM_STEP_TASKS_PER_NODE", "SLURM_TASKS_PER_NODE"})
    if (const auto counts = variable(name)) {
      const auto count = detail::count_of_node(*counts, env.node);
      if (!count)
        fail("Slurm", fmt::format("{}={}; want counts such as 4(x2),3, with one of node {}", name, *counts, env.node));
      env.local_size = *count;
      break;
    }
  const auto id = variable("SLURM_JOB_ID");
  if (!id) fail("Slurm", "the variable SLURM_JOB_ID is missing");
  env.job = fmt::format("slurm-{}.{}", *id, variable("SLURM_STEP_ID").value_or(variable("SLURM_STEPID").value_or("")));
  env.attempt = from.find_number("SLURM_RESTART_COUNT", 0, 1 << 30).value_or(0);
  meet_at(env, from, slurm_host("Slurm"), port_of_job(env.job), "SLURM_JOB_NODELIST is missing, too");
  return env;
}

/// What a user or our launcher gives beside any starter's variables.
void read_own(Env& env) {
  const Variables from(env.starter.c_str());
  if (const auto store = variable("GRADUS_STORE")) {
    env.store = *store;
    env.hosts_store = false;
  }
  env.token = variable("GRADUS_STORE_TOKEN").value_or("");
  env.job = variable("GRADUS_RUN_ID").value_or(env.job);
  env.attempt = from.find_number("GRADUS_RESTART_COUNT", 0, 1 << 30).value_or(env.attempt);
}

void check(const Env& env) {
  if (env.rank >= env.size) fail(env.starter, fmt::format("rank {} of {} processes", env.rank, env.size));
  if (env.local_rank >= env.local_size || env.local_size > env.size)
    fail(env.starter,
         fmt::format("process {} of {} on this machine, of {} in all", env.local_rank, env.local_size, env.size));
}

}  // namespace

Env Env::detect() {
  for (const auto read : {from_torchrun, from_kubernetes, from_openmpi, from_mpich, from_slurm})
    if (auto env = read()) {
      read_own(*env);
      check(*env);
      return *env;
    }
  return {};
}

Device Env::device() const {
  Backend* const backend = find_cuda_backend();
  const int devices = backend ? backend->device_count() : 0;
  if (devices == 0) return Device::cpu();
  if (devices == 1) return Device::cuda(0);  // a starter that shows each process its own device alone
  if (local_rank < devices) return Device::cuda(local_rank);
  throw CommError(
      fmt::format("Env::device: process {} of this machine has none of its {} CUDA devices; start at most "
                  "one process for each",
                  local_rank, devices));
}

}  // namespace gradus::dist
