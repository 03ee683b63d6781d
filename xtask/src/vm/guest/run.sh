#!/bin/bash
# Runs the script of this run, its output to the port that leads out of the machine, and says how it ended.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
for module in overlay veth bridge br_netfilter nf_tables nft_chain_nat nft_masq nft_nat nft_ct nft_fib_inet \
  nft_reject_inet nft_compat xt_conntrack xt_addrtype dummy tun fuse; do
  modprobe -q $module || true
done
for port in /dev/vport*; do break; done
exec > "$port" 2>&1 < /dev/null
bash /vm/job
status=$?
printf '\nminke-vm: exit %s\n' $status
# The port hands over what it holds when it is closed.
exec > /dev/null 2>&1
