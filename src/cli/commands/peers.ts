import { formatDuration } from "../../config/quantity.js";
import type { AssociationView, GistView } from "../../gist/service.js";
import { type Command, show } from "../command.js";
import { type Column, table } from "../table.js";

const COLUMNS: readonly Column<AssociationView>[] = [
  { title: "PEER", value: ({ subject }) => subject || "-" },
  { title: "IDENTITY", value: ({ peerIdentity }) => peerIdentity.slice(0, 16) },
  { title: "ADDRESS", value: ({ address }) => address },
  { title: "PROTOCOL", value: ({ protocol }) => protocol },
  { title: "STATE", value: ({ state }) => state },
  { title: "OPENED BY", value: ({ initiator }) => (initiator ? "this node" : "peer") },
  { title: "AGE", right: true, value: ({ age }) => formatDuration(age) },
  { title: "SENT", right: true, value: ({ messagesSent }) => String(messagesSent) },
  { title: "RECEIVED", right: true, value: ({ messagesReceived }) => String(messagesReceived) },
];

export const peersCommand: Command = {
  name: "peers",
  usage: "",
  summary: "Neighbours on the signalling path and the associations with them",
  help: "",
  options: {},
  arguments: { min: 0, max: 0 },
  run: async (context) => {
    const view = await context.client.get<GistView>("/v1/peers");
    await show(context, view, () =>
      view.associations.length === 0 ? "no associations\n" : table(COLUMNS, view.associations),
    );
    return 0;
  },
};
