#!/usr/bin/env bash
# A Slurm of one node in a folder: `cluster.sh start FOLDER`, `cluster.sh stop FOLDER`.
#
# Debian: apt-get install slurmctld slurmd slurm-client munge. Needs root, as munged and slurmd do.
# Afterwards SLURM_CONF=FOLDER/slurm.conf makes sbatch, squeue and scontrol talk to it. Leaves with
# 77 and one line of reason where it cannot run.
set -eu

unavailable() {
  echo "skipped: $1"
  exit 77
}

start() {
  for program in slurmctld slurmd munged sbatch scontrol; do
    command -v $program > /dev/null || unavailable "$program is not installed (slurm-wlm, munge)"
  done
  [ "$(id -u)" -eq 0 ] || unavailable "slurmd and munged need root"
  mkdir -p "$dir"/{munge,state,spool,log}
  chmod 0700 "$dir/munge"
  chmod 0755 "$dir"
  dd if=/dev/urandom of="$dir/munge/key" bs=128 count=1 2> /dev/null
  chmod 0400 "$dir/munge/key"
  local host
  host=$(hostname -s)
  cat > "$dir/slurm.conf" << CONF
ClusterName=ckvtest
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$dir/munge/socket
SlurmctldPort=$((20000 + $$ % 10000))
SlurmdPort=$((30000 + $$ % 10000))
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=1,sched_interval=1
MpiDefault=none
JobRequeue=1
ReturnToService=2
KillWait=20
RebootProgram=/bin/true
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=test Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
  munged --force --key-file "$dir/munge/key" --socket "$dir/munge/socket" \
    --pid-file "$dir/munge/pid" --log-file "$dir/log/munged.log" --seed-file "$dir/munge/seed" \
    || unavailable "munged does not start: $(tail -n 1 "$dir/log/munged.log" 2> /dev/null)"
  export SLURM_CONF="$dir/slurm.conf"
  slurmctld || unavailable "slurmctld does not start: $(tail -n 1 "$dir/log/slurmctld.log")"
  slurmd || unavailable "slurmd does not start: $(tail -n 1 "$dir/log/slurmd.log")"
  for _ in $(seq 60); do
    [ "$(sinfo --noheader --format=%t 2> /dev/null)" = idle ] && return
    sleep 0.5
  done
  unavailable "the node does not come up: $(tail -n 1 "$dir/log/slurmd.log")"
}

stop() {
  local pid
  for file in slurmd.pid slurmctld.pid munge/pid; do
    pid=$(cat "$dir/$file" 2> /dev/null) && kill "$pid" 2> /dev/null || continue
    # The daemons write their state at the end; the folder may be removed when they are gone.
    for _ in $(seq 100); do
      kill -0 "$pid" 2> /dev/null || break
      sleep 0.1
    done
  done
}

[ $# -eq 2 ] || { echo "usage: cluster.sh start|stop FOLDER" >&2; exit 2; }
mkdir -p "$2"
dir=$(cd "$2" && pwd)
case $1 in
  start) start ;;
  stop) stop ;;
  *) echo "usage: cluster.sh start|stop FOLDER" >&2; exit 2 ;;
esac
