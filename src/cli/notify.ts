/** sd_notify, by systemd's own program: Node has no datagram sockets of the Unix kind. */
import { execFile } from "node:child_process";
import type { Logger } from "../base/log.js";

const TIMEOUT = 5000;

/** Tells systemd, when it started this process and wants to know. The service needs NotifyAccess=all. */
export function notifySystemd(state: string, log: Logger): void {
  if (process.env["NOTIFY_SOCKET"] === undefined) return;
  execFile("systemd-notify", [`--pid=${process.pid}`, state], { timeout: TIMEOUT }, (error) => {
    if (error !== null) log.warn({ state, error: error.message }, "systemd was not told");
  });
}

/** Tells systemd at half of its watchdog's time that the event loop still turns. Returns how to stop. */
export function feedWatchdog(log: Logger): () => void {
  const period = Number(process.env["WATCHDOG_USEC"] ?? 0) / 2000;
  if (!(period > 0)) return () => undefined;
  const timer = setInterval(() => notifySystemd("WATCHDOG=1", log), Math.max(period, 100));
  return () => clearInterval(timer);
}
