/**
 * What a client may not tell a server, besides `x-onehop-*`: rules of every http route, written so that an ordinary request pays for
 * three tests.
 * - `X_Onehop_Token`, `X_Forwarded_For`: servers with CGI's names (WSGI, PHP) cannot tell `_` from `-`.
 * - `Connection: x-forwarded-for`: a server that is a proxy itself would take that header out (RFC 9110 section 7.6.1). HAProxy has removed
 *   `close` and `keep-alive` by then; what is left is an upgrade or a trick.
 * - `Upgrade: h2c`: a server that agrees would leave a tunnel in which no rule holds.
 */
export const CLEANING_RULES: readonly string[] = [
  '  http-request del-header ^x[-_](onehop[-_]|forwarded[-_]for$) -m reg if { req.hdr_names -m sub _ }',
  '  http-request del-header upgrade if { req.hdr(upgrade) -i -m sub h2c }',
  '  http-request set-header connection upgrade if { req.hdr(connection) -m found }',
];
