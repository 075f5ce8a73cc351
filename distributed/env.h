// What the program that started this process says about it: which of how many it is, and where the others can be met.
#pragma once

#include <string>

#include <gradus/core/device.h>

namespace gradus::dist {

struct Env {
  int rank = 0, size = 1;              ///< among all processes of the job
  int local_rank = 0, local_size = 1;  ///< among those of this machine
  int node = 0;                        ///< number of this machine in the job
  std::string store = {};    ///< "tcp://host:port", "file:///folder" or "redis://host:port"; empty: one process
  std::string token = {};    ///< what a tcp:// store asks for
  std::string job = {};      ///< tells this job's keys in a store from another's
  int attempt = 0;           ///< how often the job was started again
  bool hosts_store = false;  ///< no launcher serves the tcp:// store: this rank is to do it
  std::string starter = {};  ///< "gradus-run", "torchrun", "Slurm", "OpenMPI", "MPICH", "Kubernetes", or empty

  /// Reads the environment. The first of these that is there counts: gradus-run's own variables, torchrun's,
  /// Kubernetes' indexed Job, OpenMPI's, MPICH's, Slurm's; without any it is one process. Throws CommError (setup) that
  /// names the variable when one is missing or makes no sense.
  GRADUS_API static Env detect();
  /// cuda:<local rank> when CUDA devices can be used, else cpu.
  GRADUS_API Device device() const;
};

}  // namespace gradus::dist
