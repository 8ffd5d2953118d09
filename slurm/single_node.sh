#!/usr/bin/env bash
# A private SLURM on this one machine, for tests and for trying a sweep. No systemd, no root needed.
#
#   slurm/single_node.sh start [FOLDER]     everything lives in FOLDER, by default ~/.cache/invconv-slurm
#   slurm/single_node.sh stop [FOLDER]
#
# start prints the line to be evaluated: eval "$(slurm/single_node.sh start)".
# NODES (default 1) emulates several nodes, CPUS (default: as many as there are) is what each says
# it has. Needs: apt-get install slurmctld slurmd slurm-client munge
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
command=${1:-help}
folder=$(realpath -m "${2:-$HOME/.cache/invconv-slurm}")

fail() { echo "single_node.sh: $*" >&2; exit 1; }

stop() {
  local pids=() file pid
  export SLURM_CONF=$folder/slurm.conf
  # jobs would outlive the daemons
  if [ -s "$folder/slurmctld.pid" ] && timeout 5 scancel --quiet --user="$(id -un)" 2>/dev/null; then
    timeout 5 scancel --quiet --full --signal=KILL --user="$(id -un)" 2>/dev/null || true
    for _ in $(seq 100); do
      [ -z "$(timeout 5 squeue -h -o %A 2>/dev/null)" ] && break
      sleep 0.1
    done
  fi
  for file in "$folder"/slurmd-*.pid "$folder"/slurmctld.pid "$folder"/munged.pid; do
    [ -s "$file" ] && pids+=("$(cat "$file")")
  done
  for pid in ${pids[@]+"${pids[@]}"}; do kill "$pid" 2>/dev/null || true; done
  for _ in $(seq 100); do
    local left=0
    for pid in ${pids[@]+"${pids[@]}"}; do kill -0 "$pid" 2>/dev/null && left=1; done
    [ $left = 0 ] && { rm -f "$folder"/*.pid; return 0; }
    sleep 0.1
  done
  for pid in ${pids[@]+"${pids[@]}"}; do kill -9 "$pid" 2>/dev/null || true; done
  rm -f "$folder"/*.pid
}

free_ports() {
  python3 - "$1" <<'PYTHON'
import socket, sys
held = [socket.socket() for _ in range(int(sys.argv[1]))]
for s in held:
    s.bind(("", 0))
print(*(s.getsockname()[1] for s in held))
PYTHON
}

start() {
  local nodes=${NODES:-1} host cpus memory user program
  for program in munged slurmctld slurmd sinfo sbatch; do
    PATH=$PATH:/usr/sbin command -v $program >/dev/null ||
      fail "$program is missing: apt-get install slurmctld slurmd slurm-client munge"
  done
  [ ! -s "$folder/slurmctld.pid" ] || ! kill -0 "$(cat "$folder/slurmctld.pid")" 2>/dev/null ||
    fail "a cluster runs in $folder already: single_node.sh stop $folder"
  export PATH=$PATH:/usr/sbin
  host=$(hostname -s) cpus=${CPUS:-$(nproc)} user=$(id -un)
  memory=$(($(awk '/MemTotal/{print $2}' /proc/meminfo) / 1024 - 512))
  mkdir -p "$folder"/{state,spool,log,bin}
  # munged wants a folder that nobody else can write to
  chmod 755 "$folder" "$folder"/{state,log}
  if [ ! -s "$folder/munge.key" ]; then
    (umask 077; dd if=/dev/urandom of="$folder/munge.key" bs=128 count=1 status=none)
  fi
  # --force: the folders above may be closed to others, who have no business here
  munged --force --key-file="$folder/munge.key" --socket="$folder/munge.sock" \
    --pid-file="$folder/munged.pid" --seed-file="$folder/munged.seed" \
    --log-file="$folder/log/munged.log" >"$folder/log/munged.out" 2>&1 ||
    fail "munged does not start, see $folder/log/munged.out and munged.log"
  read -ra ports <<<"$(free_ports $((nodes + 1)))"
  cat >"$folder/slurm.conf" <<CONF
ClusterName=local
SlurmctldHost=$host(127.0.0.1)
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
# a requeued job waits for cred_expire, 120 s by default
AuthInfo=cred_expire=5,socket=$folder/munge.sock
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=5,bf_interval=5
MpiDefault=none
ReturnToService=2
SlurmctldPort=${ports[0]}
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool/%n
SlurmdParameters=config_overrides
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd-%n.pid
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/slurmd-%n.log
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=5
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc=$folder/log/jobcomp.txt
KillWait=5
InactiveLimit=0
MinJobAge=3600
CONF
  for i in $(seq 1 "$nodes"); do
    echo "NodeName=n$i NodeHostname=$host NodeAddr=127.0.0.1 Port=${ports[$i]} CPUs=$cpus" \
      "RealMemory=$((memory / nodes)) State=UNKNOWN" >>"$folder/slurm.conf"
  done
  echo "PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP" >>"$folder/slurm.conf"
  export SLURM_CONF=$folder/slurm.conf
  slurmctld -f "$SLURM_CONF" >"$folder/log/slurmctld.out" 2>&1 ||
    fail "slurmctld does not start, see $folder/log/slurmctld.out and slurmctld.log"
  for i in $(seq 1 "$nodes"); do
    mkdir -p "$folder/spool/n$i"
    slurmd -f "$SLURM_CONF" -N "n$i" >"$folder/log/slurmd-n$i.out" 2>&1 ||
      fail "slurmd does not start, see $folder/log/slurmd-n$i.out and slurmd-n$i.log"
  done
  for _ in $(seq "${SECONDS_TO_WAIT:-30}0"); do
    [ "$(sinfo -h -t idle -o %D 2>/dev/null)" = "$nodes" ] && break
    sleep 0.1
  done
  if [ "$(sinfo -h -t idle -o %D 2>/dev/null)" != "$nodes" ]; then
    stop
    fail "the nodes do not become idle, see $folder/log/slurmctld.log and slurmd-n1.log"
  fi
  cp "$here/sacct" "$folder/bin/sacct"
  echo "export SLURM_CONF=$SLURM_CONF PATH=$folder/bin:\$PATH"
}

case $command in
  start) start ;;
  stop) stop ;;
  *) sed -n '2,9s/^# \{0,1\}//p' "$0"; [ "$command" = help ] ;;
esac
