#!/usr/bin/env bash
# A SLURM of one node on this machine, to try sweeps and for the tests: start_slurm.sh <new folder> [cpus].
# It needs no systemd, no database and no root: slurmctld, slurmd and munged run as this user, on 127.0.0.1 alone.
#
#   apt-get install slurmctld slurmd munge slurm-client
#   home=$(mktemp -d) && scripts/start_slurm.sh $home && source $home/env
#   $home/stop
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
[ $# -ge 1 ] || { echo "usage: $0 <new folder> [cpus]" >&2; exit 2; }
for program in munged slurmctld slurmd sinfo; do
  command -v "$program" >/dev/null || {
    echo "$program is missing: apt-get install slurmctld slurmd munge slurm-client" >&2
    exit 3
  }
done
cpus=${2:-4}
mkdir -p "$1"
home=$(cd "$1" && pwd)
[ ! -e "$home/slurm.conf" ] || { echo "$home has a SLURM already; stop it with $home/stop, and remove it" >&2; exit 2; }
node=$(hostname -s)
free_port() { "${PYTHON:-python3}" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

mkdir -p "$home/state" "$home/spool"
munge=$(mktemp -d "${TMPDIR:-/tmp}/munge.XXXXXX") # munged wants a short path that everybody may pass through
chmod 711 "$munge"
head -c 1024 /dev/urandom >"$munge/key"
chmod 400 "$munge/key"

cat >"$home/slurm.conf" <<CONF
ClusterName=here
SlurmctldHost=$node(127.0.0.1)
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
AuthInfo=socket=$munge/socket
CredType=cred/munge
StateSaveLocation=$home/state
SlurmdSpoolDir=$home/spool
SlurmctldPidFile=$home/slurmctld.pid
SlurmdPidFile=$home/slurmd.pid
SlurmctldLogFile=$home/slurmctld.log
SlurmdLogFile=$home/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=bf_interval=2,sched_interval=2,batch_sched_delay=0
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
KillWait=10
UnkillableStepTimeout=600
SlurmdParameters=config_overrides
NodeName=$node NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=64000
PartitionName=here Nodes=$node Default=YES MaxTime=INFINITE State=UP
CONF

cat >"$home/env" <<ENV
export SLURM_CONF=$home/slurm.conf PATH=\$PATH:/usr/sbin
ENV

cat >"$home/stop" <<STOP
#!/usr/bin/env bash
# Cancels all jobs, and ends the daemons.
export SLURM_CONF=$home/slurm.conf
timeout 10 scancel --full --signal=KILL --user="\$(id -un)" 2>/dev/null
timeout 10 scancel --user="\$(id -un)" 2>/dev/null
for file in $home/slurmd.pid $home/slurmctld.pid $munge/pid; do
  [ -s "\$file" ] || continue
  process=\$(cat "\$file")
  kill "\$process" 2>/dev/null
  for _ in \$(seq 50); do kill -0 "\$process" 2>/dev/null || break; sleep 0.1; done
  kill -9 "\$process" 2>/dev/null
done
rm -rf "$munge"
STOP
chmod +x "$home/stop"

munged --key-file="$munge/key" --socket="$munge/socket" --pid-file="$munge/pid" \
  --log-file="$munge/log" --seed-file="$munge/seed" --num-threads=2
export SLURM_CONF=$home/slurm.conf
slurmctld -c
slurmd -c
for _ in $(seq 100); do
  [ "$(sinfo -h -o %T 2>/dev/null)" = idle ] && { echo "SLURM runs: source $home/env; end it with $home/stop"; exit 0; }
  sleep 0.1
done
"$home/stop"
echo "SLURM does not start: read $home/slurmctld.log and $home/slurmd.log" >&2
exit 4
