import {createPublicKey, verify} from 'node:crypto';
import {createNodeKey, nodeKeyText, storedNodeKey} from '../../../src/federated';
import {publicKeyPEM, sign} from '../../../src/extensions/federated/nodeKey';
import {LoRAError} from '../../../src/index';

test('signatures are those that OpenSSL takes, whatever zeros their numbers begin with', async () => {
  const key = await createNodeKey();
  const open = createPublicKey(await publicKeyPEM(key));
  expect(open.asymmetricKeyDetails?.namedCurve).toBe('secp384r1');
  // One of 128 has a number whose first byte is zero, every second one that needs a zero before it.
  for (let i = 0; i < 400; i++) {
    const text = `2026-01-01T00:00:00.${i}+00:00`;
    expect(verify('sha256', Buffer.from(text), open, await sign(key, text))).toBe(true);
  }
});

test('a key that was serialized is the same', async () => {
  const key = await createNodeKey();
  const again = await createNodeKey(await nodeKeyText(key, 'private'));
  expect(await nodeKeyText(again, 'public')).toBe(await nodeKeyText(key, 'public'));
  const open = createPublicKey(await publicKeyPEM(key));
  expect(verify('sha256', Buffer.from('text'), open, await sign(again, 'text'))).toBe(true);
});

test('the public half is what ssh-keygen writes', async () => {
  const x = 'AJTAxXMyOjnkRuVMvfNQ7gHWNSzGn7rx2xDtLMMJXpiH8FVawCRTTSwyHVPuWOkl';
  const y = 'b-5igTriRL1VGEvK1dZMaXfLgvTYehnTuLtHc9RjDRZ67_kW_jRhLiNs-k-m9Z96';
  const jwk = {kty: 'EC', crv: 'P-384', x, y};
  const publicKey = await crypto.subtle.importKey('jwk', jwk, {name: 'ECDSA', namedCurve: 'P-384'}, true, ['verify']);
  const {privateKey} = await createNodeKey();
  expect(await nodeKeyText({privateKey, publicKey}, 'public')).toBe(
    'ecdsa-sha2-nistp384 AAAAE2VjZHNhLXNoYTItbmlzdHAzODQAAAAIbmlzdHAzODQAAABhBACUwMVzMjo55EblTL3zUO4B1j' +
      'Usxp+68dsQ7SzDCV6Yh/BVWsAkU00sMh1T7ljpJW/uYoE64kS9VRhLytXWTGl3y4L02HoZ07i7R3PUYw0Weu/5Fv40YS4jbPpPpvWfeg==\n',
  );
});

test.each(['', 'null', '[]', '{}', '{"kty": "EC", "crv": "P-256"}', '-----BEGIN PRIVATE KEY-----'])(
  'the text %j is refused as a key',
  async text => {
    await expect(createNodeKey(text)).rejects.toBeInstanceOf(LoRAError);
  },
);

test.each<[what: string, use: () => Promise<unknown>, message: string]>([
  ['a text that is none', () => createNodeKey(1 as never), 'The text of a key must be a string, got a number'],
  ['no half', async () => nodeKeyText(await createNodeKey(), undefined as never), 'must be "public" or "private", got'],
  ['another half', async () => nodeKeyText(await createNodeKey(), 'open' as never), 'got "open"'],
])('%s is refused', async (_, use, message) => {
  const using = use();
  await expect(using).rejects.toBeInstanceOf(LoRAError);
  await expect(using).rejects.toThrow(message);
});

test('the private half of a key that stays in its page is refused', async () => {
  const algorithm = {name: 'ECDSA', namedCurve: 'P-384'};
  const key = await crypto.subtle.generateKey(algorithm, false, ['sign', 'verify']);
  await expect(nodeKeyText(key, 'private')).rejects.toThrow('cannot be exported: a key of storedNodeKey stays');
  expect(await nodeKeyText(key, 'public')).toMatch(/^ecdsa-sha2-nistp384 /);
});

test('without IndexedDB, storedNodeKey says where to store the key', async () => {
  await expect(storedNodeKey()).rejects.toThrow(/In Node, store the key in a file/);
});
