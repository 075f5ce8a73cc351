// What Env::detect makes of the variables that each starter sets, of those that make no sense, and of none.
#include <unistd.h>

#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "catch.h"

#include <gradus/core/error.h>
#include <gradus/distributed/env.h>

using namespace gradus;
using namespace gradus::dist;
using Catch::Matchers::ContainsSubstring;

namespace {

using Variables = std::map<std::string, std::string>;

/// Env::detect() in an environment of these variables alone.
Env detect(const Variables& variables) {
  std::vector<std::string> before;
  for (char** entry = environ; *entry; ++entry) before.emplace_back(*entry);
  clearenv();
  for (const auto& [name, value] : variables) setenv(name.c_str(), value.c_str(), 1);
  const auto restore = [&] {
    clearenv();
    for (const std::string& entry : before) {
      const size_t end = entry.find('=');
      setenv(entry.substr(0, end).c_str(), entry.substr(end + 1).c_str(), 1);
    }
  };
  try {
    const Env env = Env::detect();
    restore();
    return env;
  } catch (...) {
    restore();
    throw;
  }
}

Variables with(Variables variables, const Variables& changes) {
  for (const auto& [name, value] : changes) variables[name] = value;
  return variables;
}
Variables without(Variables variables, const std::string& name) {
  variables.erase(name);
  return variables;
}

const Variables gradus_run = {{"RANK", "5"},
                              {"LOCAL_RANK", "1"},
                              {"GROUP_RANK", "1"},
                              {"WORLD_SIZE", "8"},
                              {"LOCAL_WORLD_SIZE", "4"},
                              {"MASTER_ADDR", "10.0.0.1"},
                              {"MASTER_PORT", "29400"},
                              {"GRADUS_RUN_ID", "night"},
                              {"GRADUS_RESTART_COUNT", "2"},
                              {"GRADUS_STORE", "tcp://10.0.0.1:29400"},
                              {"GRADUS_STORE_TOKEN", "secret"}};
const Variables torchrun = {{"RANK", "0"},           {"LOCAL_RANK", "0"},       {"GROUP_RANK", "0"},
                            {"WORLD_SIZE", "2"},     {"LOCAL_WORLD_SIZE", "2"}, {"MASTER_ADDR", "localhost"},
                            {"MASTER_PORT", "29500"}};
const Variables pod = {{"KUBERNETES_SERVICE_HOST", "10.0.0.1"},
                       {"JOB_COMPLETION_INDEX", "3"},
                       {"GRADUS_NNODES", "4"},
                       {"MASTER_ADDR", "train-0.train"}};
const Variables pytorch_job = {{"KUBERNETES_SERVICE_HOST", "10.0.0.1"},
                               {"RANK", "1"},
                               {"WORLD_SIZE", "3"},
                               {"MASTER_ADDR", "train-master-0"},
                               {"MASTER_PORT", "23456"},
                               {"PET_NNODES", "3"}};
const Variables openmpi = {{"OMPI_COMM_WORLD_RANK", "2"},
                           {"OMPI_COMM_WORLD_SIZE", "4"},
                           {"OMPI_COMM_WORLD_LOCAL_RANK", "2"},
                           {"OMPI_COMM_WORLD_LOCAL_SIZE", "4"},
                           {"PMIX_NAMESPACE", "2837512193"}};
const Variables mpich = {{"PMI_RANK", "1"}, {"PMI_SIZE", "2"}, {"MPI_LOCALRANKID", "1"}, {"MPI_LOCALNRANKS", "2"}};
const Variables slurm = {{"SLURM_PROCID", "5"},
                         {"SLURM_STEP_NUM_TASKS", "7"},
                         {"SLURM_NTASKS", "8"},
                         {"SLURM_LOCALID", "1"},
                         {"SLURM_NODEID", "1"},
                         {"SLURM_STEP_TASKS_PER_NODE", "4,3"},
                         {"SLURM_JOB_NODELIST", "gpu[007-008]"},
                         {"SLURM_JOB_ID", "81234"},
                         {"SLURM_STEP_ID", "0"}};

void refused(const Variables& variables, const std::string& word) {
  INFO(word);
  try {
    detect(variables);
    FAIL("no error");
  } catch (const CommError& error) {
    CHECK(error.kind == CommError::Kind::setup);
    CHECK_THAT(error.what(), ContainsSubstring(word));
  }
}

}  // namespace

TEST_CASE("without a starter it is one process") {
  for (const Variables& none : {Variables{}, Variables{{"RANK", ""}}, Variables{{"GRADUS_STORE", "file:///x"}},
                                Variables{{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "4"}, {"SLURM_JOB_ID", "1"}}}) {
    const Env env = detect(none);
    CHECK(env.rank == 0);
    CHECK(env.size == 1);
    CHECK(env.starter.empty());
    CHECK(env.store.empty());
    CHECK_FALSE(env.hosts_store);
  }
  CHECK(Env{}.device().is_cpu());
}

TEST_CASE("gradus-run says everything") {
  const Env env = detect(gradus_run);
  CHECK(env.starter == "gradus-run");
  CHECK(env.rank == 5);
  CHECK(env.size == 8);
  CHECK(env.local_rank == 1);
  CHECK(env.local_size == 4);
  CHECK(env.node == 1);
  CHECK(env.store == "tcp://10.0.0.1:29400");
  CHECK(env.token == "secret");
  CHECK(env.job == "night");
  CHECK(env.attempt == 2);
  CHECK_FALSE(env.hosts_store);
  // It started this process even when a cluster's starter started it.
  CHECK(detect(with(with(slurm, gradus_run), openmpi)).starter == "gradus-run");
  for (const char* name : {"WORLD_SIZE", "GRADUS_STORE"}) refused(without(gradus_run, name), name);
}

TEST_CASE("torchrun's processes meet at rank 0") {
  const Env first = detect(torchrun), second = detect(with(torchrun, {{"RANK", "1"}, {"LOCAL_RANK", "1"}}));
  CHECK(first.starter == "torchrun");
  CHECK(first.hosts_store);
  CHECK_FALSE(second.hosts_store);
  CHECK(first.store == "tcp://localhost:29500");
  CHECK(second.store == first.store);
  // The agent listens on the port that it tells.
  const Env beside = detect(with(
      torchrun,
      {{"TORCHELASTIC_USE_AGENT_STORE", "True"}, {"TORCHELASTIC_RUN_ID", "7"}, {"TORCHELASTIC_RESTART_COUNT", "1"}}));
  CHECK(beside.store == "tcp://localhost:29501");
  CHECK(beside.job == "7");
  CHECK(beside.attempt == 1);
  CHECK(detect(with(torchrun, {{"MASTER_PORT", "65535"}, {"TORCHELASTIC_USE_AGENT_STORE", "True"}})).store ==
        "tcp://localhost:65534");
  CHECK(detect(with(torchrun, {{"MASTER_ADDR", "fd00::1"}})).store == "tcp://[fd00::1]:29500");
  const Env shared = detect(with(torchrun, {{"GRADUS_STORE", "file:///shared"}, {"GRADUS_RUN_ID", "a"}}));
  CHECK(shared.store == "file:///shared");
  CHECK(shared.job == "a");
  CHECK_FALSE(shared.hosts_store);
}

TEST_CASE("pods of an indexed Job and of a PyTorchJob") {
  const Env env = detect(pod);
  CHECK(env.starter == "Kubernetes");
  CHECK(env.rank == 3);
  CHECK(env.size == 4);
  CHECK(env.node == 3);
  CHECK(env.local_size == 1);
  CHECK(env.store == "tcp://train-0.train:29500");
  CHECK(detect(with(pod, {{"JOB_COMPLETION_INDEX", "0"}})).hosts_store);
  for (const char* name : {"GRADUS_NNODES", "MASTER_ADDR"}) refused(without(pod, name), name);
  refused(with(pod, {{"JOB_COMPLETION_INDEX", "4"}}), "rank 4 of 4");

  const Env kubeflow = detect(pytorch_job);
  CHECK(kubeflow.starter == "Kubernetes");
  CHECK(kubeflow.rank == 1);
  CHECK(kubeflow.size == 3);
  CHECK(kubeflow.local_rank == 0);
  CHECK(kubeflow.store == "tcp://train-master-0:23456");
  refused(with(pytorch_job, {{"PET_NPROC_PER_NODE", "8"}}), "gradus-run");
}

TEST_CASE("MPI's starters") {
  const Env env = detect(openmpi);
  CHECK(env.starter == "OpenMPI");
  CHECK(env.rank == 2);
  CHECK(env.local_rank == 2);
  CHECK(env.local_size == 4);
  CHECK_THAT(env.store, ContainsSubstring("tcp://127.0.0.1:2"));
  CHECK(env.store != detect(with(openmpi, {{"PMIX_NAMESPACE", "2837512194"}})).store);
  CHECK(env.store == detect(with(openmpi, {{"OMPI_COMM_WORLD_RANK", "0"}, {"OMPI_COMM_WORLD_LOCAL_RANK", "0"}})).store);
  const Variables several = with(openmpi, {{"OMPI_COMM_WORLD_LOCAL_SIZE", "2"}, {"OMPI_COMM_WORLD_LOCAL_RANK", "0"}});
  refused(several, "MASTER_ADDR");
  CHECK(detect(with(several, {{"MASTER_ADDR", "a"}, {"MASTER_PORT", "1234"}})).store == "tcp://a:1234");
  CHECK(detect(with(several, {{"MASTER_ADDR", "a"}})).node == 1);
  CHECK_THAT(detect(with(several, {{"SLURM_JOB_NODELIST", "n[3-4]"}})).store, ContainsSubstring("tcp://n3:"));
  CHECK(detect(with(several, {{"GRADUS_STORE", "file:///s"}})).store == "file:///s");

  const Env hydra = detect(mpich);
  CHECK(hydra.starter == "MPICH");
  CHECK(hydra.rank == 1);
  CHECK(hydra.size == 2);
  CHECK(hydra.local_rank == 1);
  CHECK_THAT(hydra.store, ContainsSubstring("tcp://127.0.0.1:2"));
  refused(without(mpich, "MPI_LOCALNRANKS"), "MASTER_ADDR");  // whether one machine, nobody says
  refused(without(mpich, "PMI_SIZE"), "PMI_SIZE");
}

TEST_CASE("Slurm's steps") {
  const Env env = detect(slurm);
  CHECK(env.starter == "Slurm");
  CHECK(env.rank == 5);
  CHECK(env.size == 7);
  CHECK(env.local_rank == 1);
  CHECK(env.local_size == 3);
  CHECK(env.node == 1);
  CHECK(env.job == "slurm-81234.0");
  CHECK_THAT(env.store, ContainsSubstring("tcp://gpu007:2"));
  CHECK(env.store != detect(with(slurm, {{"SLURM_STEP_ID", "1"}})).store);
  CHECK(detect(with(slurm, {{"SLURM_RESTART_COUNT", "3"}})).attempt == 3);
  CHECK(detect(with(slurm, {{"PMI_RANK", "5"}, {"PMI_SIZE", "7"}})).starter == "Slurm");
  CHECK(detect(with(slurm, {{"PMI_RANK", "1"}, {"PMI_SIZE", "2"}, {"MPI_LOCALRANKID", "1"}, {"MPI_LOCALNRANKS", "2"}}))
            .starter == "MPICH");
  CHECK(detect(without(without(slurm, "SLURM_STEP_NUM_TASKS"), "SLURM_STEP_TASKS_PER_NODE")).size == 8);
  for (const char* name : {"SLURM_LOCALID", "SLURM_NODEID", "SLURM_JOB_ID", "SLURM_JOB_NODELIST"})
    refused(without(slurm, name), name);

  const auto first = [](const std::string& list) {
    const std::string store = detect(with(slurm, {{"SLURM_JOB_NODELIST", list}})).store;
    return store.substr(6, store.rfind(':') - 6);
  };
  CHECK(first("a") == "a");
  CHECK(first("a,b") == "a");
  CHECK(first("node-1.cluster,b") == "node-1.cluster");
  CHECK(first("n[0009-0012,20],m") == "n0009");
  CHECK(first("n[7]") == "n7");
  CHECK(first("n[7,9]x,b") == "n7x");
  CHECK(first("rack[2-3]node[01-16]") == "rack2node01");
  for (const std::string list : {",", "[", "n[", "n[]", "n[a]", "n[1", "n[1a]", "n[-3]", "n$x", "n 1", "n]"})
    refused(with(slurm, {{"SLURM_JOB_NODELIST", list}}), "SLURM_JOB_NODELIST=" + list);

  const auto count = [](const std::string& counts, const char* node) {
    return detect(with(slurm, {{"SLURM_STEP_TASKS_PER_NODE", counts}, {"SLURM_NODEID", node}})).local_size;
  };
  CHECK(count("4(x2),3", "0") == 4);
  CHECK(count("4(x2),3", "1") == 4);
  CHECK(count("4(x2),3", "2") == 3);
  CHECK(count("7", "0") == 7);
  for (const std::string counts : {"x", "4", "4,", "4(x", "4(x)", "4(x2", "-1,-1", "99999999999,1"})
    refused(with(slurm, {{"SLURM_STEP_TASKS_PER_NODE", counts}}), "SLURM_STEP_TASKS_PER_NODE=" + counts);
}

TEST_CASE("numbers that make no sense are refused with the variable's name") {
  for (const auto& [start, names] : std::vector<std::pair<Variables, std::vector<std::string>>>{
           {gradus_run, {"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "GRADUS_RESTART_COUNT"}},
           {torchrun, {"MASTER_PORT"}},
           {pod, {"JOB_COMPLETION_INDEX", "GRADUS_NNODES"}},
           {openmpi, {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE"}},
           {mpich, {"PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"}},
           {slurm, {"SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_NODEID"}}})
    for (const std::string& name : names)
      for (const std::string value : {"-1", "x", "1x", " 1", "99999999999999999999", "1.5", "0x1"})
        refused(with(start, {{name, value}}), name + "=" + value);
  refused(with(torchrun, {{"RANK", "2"}}), "rank 2 of 2");
  refused(with(torchrun, {{"LOCAL_RANK", "2"}}), "process 2 of 2");
  refused(with(torchrun, {{"LOCAL_WORLD_SIZE", "3"}}), "of 3 on this machine, of 2");
  refused(with(torchrun, {{"WORLD_SIZE", "0"}}), "WORLD_SIZE=0");
}
