{
  "targets": [
    {
      "target_name": "pbs_native",
      "sources": [
        "addon-notices.c",
        "addon-peer.c",
        "addon-table.c",
        "addon-values.c",
        "addon.c",
        "ah-cover.c",
        "ah-find.c",
        "ah-insert.c",
        "ah-key.c",
        "ah-verify.c",
        "ah-walk.c",
        "ah-window.c",
        "authenticate.c",
        "cmac.c",
        "emit.c",
        "engine.c",
        "events.c",
        "hold.c",
        "ipset.c",
        "judge.c",
        "mac.c",
        "narrow.c",
        "notes.c",
        "packet.c",
        "protection.c",
        "queue.c",
        "signature.c",
        "table.c",
        "tally.c",
        "too-big.c",
        "tree-cache.c",
        "tree.c",
        "ways.c",
        "worker.c"
      ],
      "cflags": ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-Wno-cast-function-type", "<!@(pkg-config --cflags libmnl)"],
      "defines": ["_GNU_SOURCE", "NAPI_VERSION=8"],
      "libraries": ["<!@(pkg-config --libs libmnl)", "-lpthread"]
    }
  ]
}
