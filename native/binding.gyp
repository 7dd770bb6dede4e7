{
  "targets": [
    {
      "target_name": "pbs_native",
      "sources": [
        "addon.c",
        "addon-notices.c",
        "addon-peer.c",
        "addon-table.c",
        "addon-values.c",
        "engine.c",
        "events.c",
        "hold.c",
        "ipset.c",
        "judge.c",
        "packet.c",
        "queue.c",
        "table.c",
        "worker.c"
      ],
      "cflags": ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-Wno-cast-function-type", "<!@(pkg-config --cflags libmnl)"],
      "defines": ["_GNU_SOURCE", "NAPI_VERSION=8"],
      "libraries": ["<!@(pkg-config --libs libmnl)", "-lpthread"]
    }
  ]
}
