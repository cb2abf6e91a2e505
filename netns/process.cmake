# SPDX-License-Identifier: GPL-2.0-or-later
# The process half of netns: cgroups, the pod's init, start/adopt/stop, logs, exec.
trama_library(trama_netns_process SOURCES json_fields.cc pod_spec.cc pod_status.cc volume_files.cc container_mounts.cc log_file.cc log_reader.cc
  cgroup_model.cc cgroup.cc spawn.cc launch.cc privileges.cc root_fs.cc container_root.cc restart.cc container_run.cc
  pod_supervisor.cc pod_init.cc process.cc exec.cc pod_exec.cc
  LINKS trama_netns_model trama_base Boost::json)
