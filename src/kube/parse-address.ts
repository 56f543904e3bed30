import ipaddr from 'ipaddr.js';

/**
 * An IP address in its one spelling, so that two can be compared as texts: IPv6 compressed and in lower case, `::ffff:10.0.0.1` as
 * `10.0.0.1`. Undefined for any other text, also for one with a zone (`fe80::1%eth0`), which means nothing on another node.
 */
export function parseAddress(text: string): string | undefined {
  if (ipaddr.IPv4.isValidFourPartDecimal(text)) return text;
  return ipaddr.IPv6.isValid(text) && !text.includes('%') ? ipaddr.process(text).toString() : undefined;
}
