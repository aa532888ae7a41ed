/* The load: strict request and response on many connections at once, one thread, one epoll set.
 *
 *   load echo|ticks|raw HOST PORT CONNECTIONS SIZE WARMUP SECONDS PID
 *
 * echo:  each connection sends a masked text frame of SIZE bytes, waits for the whole answer, sends the next.
 * ticks: each connection waits for a message and answers it with a masked text frame of SIZE bytes.
 * raw:   as echo, without handshake and frames: SIZE bytes there, SIZE bytes back.
 *
 * The frame is made once and sent again and again; received payloads are skipped, not looked at. Prints one JSON object with what
 * happened after the warm-up. Latency runs from the start of a send to the end of the message that answers it. PID is the
 * server's main thread, whose processor time is reported beside our own; 0 for none.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { ECHO, TICKS, RAW };

struct connection {
  int fd;
  uint64_t sent_at;    /* when the request that is under way was sent */
  size_t to_send;      /* bytes of the frame that the kernel has not taken yet */
  uint64_t to_skip;    /* bytes of the payload under way that are still to come */
  unsigned char head[10];
  int waits;           /* for room to send the rest */
  int head_bytes;      /* how much of a frame's head is here */
  int in_payload;
  int counts;          /* the frame under way ends a message */
  uint64_t messages;   /* after the warm-up */
};

/* 64 steps per power of two of nanoseconds: 1.6 percent. */
#define STEPS 64
#define BUCKETS (STEPS * 40)
static uint64_t histogram[BUCKETS];
static uint64_t worst;
static char buffer[256 * 1024];
static unsigned char *frame;
static size_t frame_bytes, size;
static int mode, measuring;

static void die(const char *what) {
  fprintf(stderr, "load: %s: %s\n", what, errno ? strerror(errno) : "unexpected answer");
  exit(1);
}

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static double cpu_seconds(void) {
  struct rusage u;
  getrusage(RUSAGE_SELF, &u);
  return u.ru_utime.tv_sec + u.ru_stime.tv_sec + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* Time that a thread has run, which the scheduler counts in nanoseconds. */
static double seconds_of(const char *pid) {
  char path[64];
  unsigned long long ran = 0;
  snprintf(path, sizeof path, "/proc/%s/schedstat", pid);
  FILE *file = fopen(path, "r");
  if (!file) return 0;
  if (fscanf(file, "%llu", &ran) != 1) ran = 0;
  fclose(file);
  return (double)ran / 1e9;
}

static int bucket_of(uint64_t ns) {
  if (ns < STEPS) return (int)ns;
  int power = 63 - __builtin_clzll(ns);              /* 2^power <= ns */
  int shift = power - 6;
  int index = (shift + 1) * STEPS + (int)((ns >> shift) - STEPS);
  return index < BUCKETS ? index : BUCKETS - 1;
}

static double middle_of(int index) {
  if (index < STEPS) return index;
  int shift = index / STEPS - 1;
  return ((double)(index % STEPS + STEPS) + 0.5) * (double)(1ull << shift);
}

static double percentile(uint64_t total, double share) {
  uint64_t rank = (uint64_t)(share * (double)total), seen = 0;
  for (int i = 0; i < BUCKETS; i++) {
    seen += histogram[i];
    if (seen > rank) return middle_of(i) / 1000.0;
  }
  return worst / 1000.0;
}

static void send_some(int poll, struct connection *c) {
  while (c->to_send) {
    ssize_t n = send(c->fd, frame + frame_bytes - c->to_send, c->to_send, MSG_NOSIGNAL);
    if (n < 0 && errno == EAGAIN) break;
    if (n < 0) die("send");
    c->to_send -= (size_t)n;
  }
  int waits = c->to_send > 0;
  if (waits != c->waits) {
    struct epoll_event e = {.events = EPOLLIN | (waits ? EPOLLOUT : 0), .data.ptr = c};
    if (epoll_ctl(poll, EPOLL_CTL_MOD, c->fd, &e)) die("epoll_ctl");
    c->waits = waits;
  }
}

static void request(int poll, struct connection *c, uint64_t now) {
  c->sent_at = now;
  c->to_send = frame_bytes;
  if (mode == RAW) c->to_skip = size;
  send_some(poll, c);
}

static void answered(int poll, struct connection *c) {
  uint64_t now = now_ns();
  if (measuring) {
    c->messages++;
    if (c->sent_at) {
      uint64_t took = now - c->sent_at;
      histogram[bucket_of(took)]++;
      if (took > worst) worst = took;
    }
  }
  request(poll, c, now);
}

/* Take what came; a whole message is answered at once. */
static void take(int poll, struct connection *c, const unsigned char *data, size_t length) {
  if (mode == RAW) {
    if (length > c->to_skip) die("more than was asked for");
    c->to_skip -= length;
    if (!c->to_skip) answered(poll, c);
    return;
  }
  size_t at = 0;
  for (;;) {
    if (c->in_payload) {
      uint64_t part = length - at < c->to_skip ? length - at : c->to_skip;
      c->to_skip -= part;
      at += part;
      if (c->to_skip) return;
      c->in_payload = 0;
      if (c->counts) answered(poll, c);
    }
    if (at == length) return;
    c->head[c->head_bytes++] = data[at++];
    if (c->head_bytes < 2) continue;
    int first = c->head[0], code = c->head[1];
    int needed = code < 126 ? 2 : code == 126 ? 4 : 10;
    if (code & 0x80) die("masked frame");
    if (c->head_bytes < needed) continue;
    uint64_t payload = 0;
    if (needed == 2) payload = (uint64_t)code;
    for (int i = 2; i < needed; i++) payload = payload << 8 | c->head[i];
    c->head_bytes = 0;
    errno = 0;
    if ((first & 0x0f) == 8) die("close frame");
    c->counts = (first & 0x08) == 0 && (first & 0x80); /* a data frame that ends a message; pings wait longer than we run */
    if (mode == ECHO && c->counts && (first & 0x0f) != 0 && payload != size) die("an echo of another length");
    c->to_skip = payload;
    c->in_payload = 1;
  }
}

static int greet(const char *host, int port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  if (inet_pton(AF_INET, host, &address.sin_addr) != 1) die("host");
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
  if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address)) die("connect");
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (mode != RAW) {
    char text[512];
    int n = snprintf(text, sizeof text,
                     "GET / HTTP/1.1\r\nHost: %s:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
                     host, port);
    if (send(fd, text, (size_t)n, MSG_NOSIGNAL) != n) die("send");
  }
  return fd;
}

/* Read the answer to the upgrade byte by byte: what stands behind it is a frame already. */
static void expect_upgrade(int fd) {
  char text[8192] = {0};
  size_t got = 0;
  while (got < sizeof text - 1) {
    if (recv(fd, text + got, 1, 0) != 1) die("handshake");
    got++;
    if (got >= 4 && !memcmp(text + got - 4, "\r\n\r\n", 4)) {
      if (memcmp(text, "HTTP/1.1 101", 12)) {
        errno = 0;
        die("handshake");
      }
      return;
    }
  }
  die("handshake");
}

static void make_frame(void) {
  frame = malloc(size + 14);
  size_t n = 0;
  if (mode != RAW) {
    const unsigned char key[4] = {0x37, 0xfa, 0x21, 0x3d};
    frame[n++] = 0x81;
    if (size < 126) {
      frame[n++] = (unsigned char)(0x80 | size);
    } else if (size < 65536) {
      frame[n++] = 0x80 | 126;
      frame[n++] = (unsigned char)(size >> 8);
      frame[n++] = (unsigned char)size;
    } else {
      frame[n++] = 0x80 | 127;
      for (int i = 7; i >= 0; i--) frame[n++] = (unsigned char)((uint64_t)size >> (8 * i));
    }
    for (int i = 0; i < 4; i++) frame[n++] = key[i];
    for (size_t i = 0; i < size; i++) frame[n + i] = (unsigned char)('a' + i % 26) ^ key[i % 4];
  } else {
    memset(frame, 'a', size);
  }
  frame_bytes = n + size;
}

int main(int count, char **words) {
  if (count != 9) {
    fprintf(stderr, "usage: load echo|ticks|raw HOST PORT CONNECTIONS SIZE WARMUP SECONDS PID\n");
    return 2;
  }
  mode = !strcmp(words[1], "echo") ? ECHO : !strcmp(words[1], "ticks") ? TICKS : RAW;
  int connections = atoi(words[4]);
  size = (size_t)atol(words[5]);
  double warmup = atof(words[6]), seconds = atof(words[7]);
  make_frame();
  int poll = epoll_create1(EPOLL_CLOEXEC);
  struct connection *all = calloc((size_t)connections, sizeof *all);
  for (int i = 0; i < connections; i++) {
    all[i].fd = greet(words[2], atoi(words[3]));
    if (mode != RAW) expect_upgrade(all[i].fd);
  }
  for (int i = 0; i < connections; i++) {
    if (fcntl(all[i].fd, F_SETFL, O_NONBLOCK)) die("fcntl");
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = &all[i]};
    if (epoll_ctl(poll, EPOLL_CTL_ADD, all[i].fd, &e)) die("epoll_ctl");
  }
  uint64_t begin = now_ns(), start = begin + (uint64_t)(warmup * 1e9), end = start + (uint64_t)(seconds * 1e9);
  double cpu = 0, server = 0;
  if (mode != TICKS)
    for (int i = 0; i < connections; i++) request(poll, &all[i], now_ns());
  struct epoll_event ready[512];
  for (;;) {
    uint64_t now = now_ns();
    if (!measuring && now >= start) {
      measuring = 1;
      start = now;
      end = now + (uint64_t)(seconds * 1e9);
      cpu = cpu_seconds();
      server = seconds_of(words[8]);
    }
    if (now >= end) {
      end = now;
      break;
    }
    int n = epoll_wait(poll, ready, 512, 100);
    if (n < 0 && errno != EINTR) die("epoll_wait");
    for (int i = 0; i < n; i++) {
      struct connection *c = ready[i].data.ptr;
      if (ready[i].events & EPOLLOUT) send_some(poll, c);
      if (!(ready[i].events & ~(uint32_t)EPOLLOUT)) continue;
      ssize_t got = recv(c->fd, buffer, sizeof buffer, 0);
      if (got < 0 && errno == EAGAIN) continue;
      if (got <= 0) die("the server closed a connection");
      take(poll, c, (unsigned char *)buffer, (size_t)got);
    }
  }
  cpu = cpu_seconds() - cpu;
  server = seconds_of(words[8]) - server;
  uint64_t total = 0, measured = 0, least = UINT64_MAX, most = 0;
  for (int i = 0; i < connections; i++) {
    total += all[i].messages;
    if (all[i].messages < least) least = all[i].messages;
    if (all[i].messages > most) most = all[i].messages;
  }
  for (int i = 0; i < BUCKETS; i++) measured += histogram[i];
  printf("{\"generator\": \"c\", \"messages\": %llu, \"seconds\": %.6f, \"cpu_seconds\": %.6f, \"server_seconds\": %.6f, \"p50\": %.2f, \"p90\": %.2f, "
         "\"p99\": %.2f, \"p999\": %.2f, \"max\": %.2f, \"least\": %llu, \"most\": %llu}\n",
         (unsigned long long)total, (double)(end - start) / 1e9, cpu, server, percentile(measured, 0.5),
         percentile(measured, 0.9), percentile(measured, 0.99), percentile(measured, 0.999), worst / 1000.0,
         (unsigned long long)least, (unsigned long long)most);
  return 0;
}
