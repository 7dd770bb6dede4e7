import test from "ava";
import { remedyFor } from "./firewall-trouble.js";

test("names the module that the kernel lacks, and the setting that does without", (t) => {
  const nft = (name: string) =>
    `Warning: Extension ${name} revision 0 not supported, missing kernel module?\n` +
    "iptables-nft-restore v1.8.9 (nf_tables): \nline 3: RULE_APPEND failed (No such file or directory): rule in chain PBS-X";
  const legacy = (name: string) =>
    `Warning: Extension ${name} revision 0 not supported, missing kernel module?\niptables-restore: line 4 failed`;
  const reassemble = "load the kernel module xt_socket, or set packets.reassemble to false";
  const reserve = "load the kernel module xt_TCPMSS, or set authentication.reserve to 0";
  t.is(remedyFor(nft("socket")), reassemble);
  t.is(remedyFor(legacy("socket")), reassemble);
  t.is(remedyFor(nft("TCPMSS")), reserve);
  t.is(remedyFor(nft("u32")), "load the kernel module xt_u32");
});

test("the tool may lack it", (t) => {
  const said = "iptables-nft-restore v1.8.9 (nf_tables): Couldn't load match `u32':No such file or directory";
  t.is(remedyFor(said), "load the kernel module xt_u32");
});

test("privileges, and all that is not known", (t) => {
  t.regex(remedyFor("iptables v1.8.9: Permission denied (you must be root)"), /NET_ADMIN/);
  t.regex(remedyFor("something else"), /pbsctl doctor/);
});
