{
  "variables": {"xdp%": "<!(sh bpf/available)"},
  "targets": [
    {
      "target_name": "pbs_native",
      "sources": [
        "addon-mac.c",
        "addon-notices.c",
        "addon-peer.c",
        "addon-relay.c",
        "addon-route.c",
        "addon-signature.c",
        "addon-table.c",
        "addon-values.c",
        "addon-xdp.c",
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
        "link-queueing.c",
        "mac.c",
        "narrow.c",
        "notes.c",
        "packet.c",
        "places.c",
        "protection.c",
        "queue.c",
        "relay-device.c",
        "relay.c",
        "signature.c",
        "table.c",
        "tally.c",
        "thread.c",
        "too-big.c",
        "tree-cache.c",
        "tree.c",
        "ways.c",
        "worker.c",
        "xdp-features.c"
      ],
      "cflags": ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-Wno-cast-function-type", "<!@(pkg-config --cflags libmnl)"],
      "defines": ["_GNU_SOURCE", "NAPI_VERSION=8"],
      "libraries": ["<!@(pkg-config --libs libmnl)", "-lpthread"],
      "conditions": [
        ["xdp=='yes'", {
          "sources": ["xdp-events.c", "xdp-forward.c", "xdp.c", "xsk.c"],
          "libraries": ["-lbpf"],
          "dependencies": ["pbs_bpf"]
        }, {
          "sources": ["xdp-absent.c"]
        }]
      ]
    },
    {
      "target_name": "pbs_bpf",
      "type": "none",
      "conditions": [["xdp=='yes'", {"actions": [
        {
          "action_name": "compile",
          "inputs": [
            "bpf/classes.h", "bpf/count.h", "bpf/maps.h", "bpf/parse.h", "bpf/pbs.bpf.c", "bpf/permission.h",
            "bpf/places.h", "bpf/route.h", "bpf/segments.h", "bpf/table.h", "flow.h", "places.h", "siphash.h", "table-layout.h", "xdp-layout.h"
          ],
          "outputs": ["<(PRODUCT_DIR)/pbs.bpf.o"],
          "action": ["sh", "bpf/compile", "bpf/pbs.bpf.c", "<(PRODUCT_DIR)/pbs.bpf.o"]
        }
      ]}]]
    }
  ]
}
