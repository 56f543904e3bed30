import { describe, expect, it } from 'vitest';
import { defaultAudiences, parseIssuer } from '../../../src/kube/parse-discovery.ts';

const ISSUER = 'https://kubernetes.default.svc';
const token = (claims: unknown): string => ['e30', Buffer.from(JSON.stringify(claims)).toString('base64url'), 'c2ln'].join('.');

describe("a cluster's word on its tokens", () => {
  it.each([
    [{ issuer: ISSUER, jwks_uri: 'https://elsewhere/keys' }, ISSUER],
    [{ issuer: '' }, undefined],
    [{ issuer: 7 }, undefined],
    [{ issuer: 'x'.repeat(1_025) }, undefined],
    ['no object', undefined],
  ])('%j names the issuer %s', (raw, issuer) => {
    expect(parseIssuer(raw)).toBe(issuer);
  });

  it.each([
    ["those of the agent's own token", { iss: ISSUER, aud: ['api', 'k3s'] }, ['api', 'k3s']],
    ['its only one', { iss: ISSUER, aud: 'api' }, ['api']],
    ['the issuer, when that token is of another one', { iss: 'https://login.example.com', aud: ['kubectl'] }, [ISSUER]],
    ['the issuer, when that token has none', { iss: ISSUER }, [ISSUER]],
    ['the issuer, when those are no names', { iss: ISSUER, aud: [7, ''] }, [ISSUER]],
  ])('gives as default audiences %s', (_, claims, wanted) => {
    expect(defaultAudiences(token(claims), ISSUER)).toEqual(wanted);
  });

  it.each([undefined, '', 'opaque-token', 'a.%%%.c', `a.${Buffer.from('7').toString('base64url')}.c`])('gives the issuer when the own token is %s', (own) => {
    expect(defaultAudiences(own, ISSUER)).toEqual([ISSUER]);
  });
});
