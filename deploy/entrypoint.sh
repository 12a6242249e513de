#!/bin/sh
# Runs `queue` with the arguments of the container. With QUEUE_MIGRATE=true the tables are created or updated
# first: containers that start at the same time wait for each other.
set -eu
if [ "${QUEUE_MIGRATE:-false}" = true ]; then
  queue migrate
fi
# In place of the shell, so that it receives the signals.
exec queue "$@"
