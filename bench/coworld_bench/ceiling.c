/* What the load generator can be answered with at most: an echo server in C, one thread, one epoll set.
 *
 *   ceiling raw|ws
 *
 * raw: every byte goes back. ws: RFC 6455 as far as the load generator speaks it: unfragmented masked frames, the sample key of the
 * RFC, no control frames. Prints "ready PORT"; ends with its standard input or with a signal.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define ROOM (512 * 1024)

struct connection {
  int fd, upgraded;
  size_t held;      /* bytes in `in` that are not a whole frame yet */
  size_t out_from, out_to;
  unsigned char in[ROOM], out[ROOM];
};

static int ws, poll_set;
static const char answer[] =
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

static void flush(struct connection *c) {
  int waited = c->out_from > 0;
  while (c->out_from < c->out_to) {
    ssize_t n = send(c->fd, c->out + c->out_from, c->out_to - c->out_from, MSG_NOSIGNAL);
    if (n < 0) break;
    c->out_from += (size_t)n;
  }
  int waits = c->out_from < c->out_to;
  if (!waits) c->out_from = c->out_to = 0;
  if (waits || waited) {
    struct epoll_event e = {.events = EPOLLIN | (waits ? EPOLLOUT : 0), .data.ptr = c};
    epoll_ctl(poll_set, EPOLL_CTL_MOD, c->fd, &e);
  }
}

static void put(struct connection *c, const void *data, size_t length) {
  if (c->out_to + length > ROOM) exit(1);
  memcpy(c->out + c->out_to, data, length);
  c->out_to += length;
}

/* One whole frame from `data`; 0 if it is not all there. */
static size_t echo_frame(struct connection *c, unsigned char *data, size_t length) {
  if (length < 6) return 0;
  size_t head = 2;
  uint64_t payload = data[1] & 0x7f;
  if (payload >= 126) {
    size_t wide = payload == 126 ? 2 : 8;
    if (length < 2 + wide + 4) return 0;
    payload = 0;
    for (size_t i = 0; i < wide; i++) payload = payload << 8 | data[2 + i];
    head += wide;
  }
  if (length < head + 4 + payload) return 0;
  unsigned char *body = data + head + 4;
  uint32_t key;
  memcpy(&key, data + head, 4);
  uint64_t wide_key = (uint64_t)key << 32 | key, part;
  size_t i = 0;
  for (; i + 8 <= payload; i += 8) {
    memcpy(&part, body + i, 8);
    part ^= wide_key;
    memcpy(body + i, &part, 8);
  }
  for (; i < payload; i++) body[i] ^= data[head + i % 4];
  data[1] &= 0x7f;
  put(c, data, head);
  put(c, body, payload);
  return head + 4 + payload;
}

static void take(struct connection *c) {
  size_t at = 0;
  if (!ws) {
    put(c, c->in, c->held);
    at = c->held;
  } else if (!c->upgraded) {
    unsigned char *end = memmem(c->in, c->held, "\r\n\r\n", 4);
    if (!end) return;
    c->upgraded = 1;
    put(c, answer, sizeof answer - 1);
    at = (size_t)(end - c->in) + 4;
  }
  while (ws && at < c->held) {
    size_t used = echo_frame(c, c->in + at, c->held - at);
    if (!used) break;
    at += used;
  }
  memmove(c->in, c->in + at, c->held - at);
  c->held -= at;
  flush(c);
}

int main(int count, char **words) {
  ws = count > 1 && !strcmp(words[1], "ws");
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t bytes = sizeof address;
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1;
  if (bind(listener, (struct sockaddr *)&address, bytes) || listen(listener, 1024)) return 1;
  getsockname(listener, (struct sockaddr *)&address, &bytes);
  poll_set = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL};
  epoll_ctl(poll_set, EPOLL_CTL_ADD, listener, &e);
  static char parent;
  e.data.ptr = &parent;
  e.events = EPOLLIN;
  epoll_ctl(poll_set, EPOLL_CTL_ADD, 0, &e); /* refused for a regular file: then only a signal ends us */
  printf("ready %d\n", ntohs(address.sin_port));
  fflush(stdout);
  struct epoll_event ready[256];
  for (;;) {
    int n = epoll_wait(poll_set, ready, 256, -1);
    for (int i = 0; i < n; i++) {
      struct connection *c = ready[i].data.ptr;
      if (ready[i].data.ptr == &parent) {
        char byte;
        if (read(0, &byte, 1) <= 0) return 0;
        continue;
      }
      if (!c) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) continue;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        c = malloc(sizeof *c);
        memset(c, 0, offsetof(struct connection, in));
        c->fd = fd;
        e.data.ptr = c;
        epoll_ctl(poll_set, EPOLL_CTL_ADD, fd, &e);
        continue;
      }
      if (ready[i].events & EPOLLOUT) flush(c);
      if (!(ready[i].events & ~(uint32_t)EPOLLOUT)) continue;
      ssize_t got = recv(c->fd, c->in + c->held, ROOM / 2 - c->held, 0);
      if (got < 0 && errno == EAGAIN) continue;
      if (got <= 0) {
        close(c->fd);
        free(c);
        continue;
      }
      c->held += (size_t)got;
      take(c);
    }
  }
}
