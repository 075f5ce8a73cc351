#!/bin/sh
# OpenMPI starts the processes itself, eight on each machine of the file `hosts`; rank 0, on the first of them, serves the
# store. Nobody supervises: when a process fails, mpirun ends the job. `examples/cluster/openmpi.sh hosts 16 ./train`
set -eu
hosts=$1 processes=$2
shift 2
first=$(sed -n '1s/[ :].*//p;1q' "$hosts")
exec mpirun --hostfile "$hosts" -np "$processes" --map-by "ppr:${PER_MACHINE:-8}:node" \
  -x MASTER_ADDR="$first" -x MASTER_PORT="${MASTER_PORT:-29400}" -x GRADUS_NUM_THREADS="${GRADUS_NUM_THREADS:-8}" "$@"
