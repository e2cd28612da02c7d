#!/bin/sh
# Makes an nginx image from Debian's packages: nginx.sh ARCHIVE.tar (default: target/images/peers/nginx.tar).
#
# For tests on machines that reach no registry. It carries the name that the examples use, and behaves as the image of that name:
# port 8080, uid 101, pages in /usr/share/nginx/html, logs in /var/log/nginx, everything else that it writes in /tmp.
# Needs apt-get, dpkg and tar; no root, no daemon. docker, podman and containerd load the archive.
set -eu
image=docker.io/nginxinc/nginx-unprivileged:1.22
root=$(cd "$(dirname "$0")/../.." && pwd)
archive=${1:-${CARGO_TARGET_DIR:-$root/target}/images/peers/nginx.tar}

# nginx, its configuration (mime types, the welcome page), and the libraries that it is linked with.
packages="nginx nginx-common libc6 libcrypt1 libpcre2-8-0 libssl3 zlib1g"
# shellcheck source=unpack.sh
. "$root/docker/peers/unpack.sh"

rm -rf usr/share/doc usr/share/man usr/share/lintian usr/lib/*/gconv etc/nginx/sites-* etc/nginx/modules-* var/log/nginx
mkdir -p etc/nginx var/log/nginx tmp usr/share/nginx/html
chmod 1777 tmp
ln -s /dev/stdout var/log/nginx/access.log
ln -s /dev/stderr var/log/nginx/error.log
echo 'nginx:x:101:101:nginx:/nonexistent:/bin/false' >etc/passwd
echo 'nginx:x:101:' >etc/group
[ -f usr/share/nginx/html/index.html ] ||
  echo '<!DOCTYPE html><html><head><title>Welcome to nginx!</title></head><body><h1>Welcome to nginx!</h1></body></html>' >usr/share/nginx/html/index.html
cat >etc/nginx/nginx.conf <<'CONF'
worker_processes 1;
pid /tmp/nginx.pid;
error_log /var/log/nginx/error.log notice;
events { worker_connections 1024; }
http {
  client_body_temp_path /tmp/client_temp;
  proxy_temp_path /tmp/proxy_temp;
  fastcgi_temp_path /tmp/fastcgi_temp;
  uwsgi_temp_path /tmp/uwsgi_temp;
  scgi_temp_path /tmp/scgi_temp;
  include /etc/nginx/mime.types;
  default_type application/octet-stream;
  log_format main '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent"';
  access_log /var/log/nginx/access.log main;
  include /etc/nginx/conf.d/*.conf;
}
CONF
mkdir -p etc/nginx/conf.d
cat >etc/nginx/conf.d/default.conf <<'CONF'
server {
  listen 8080;
  location / {
    root /usr/share/nginx/html;
    index index.html;
  }
}
CONF

"$root/docker/peers/pack.sh" "$work/root" "$archive" "$image" <<'JSON'
{"User":"101","Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],"Entrypoint":["nginx","-g","daemon off;"],
"ExposedPorts":{"8080/tcp":{}},"StopSignal":"SIGQUIT"}
JSON
