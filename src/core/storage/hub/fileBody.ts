import {ioError} from '../../../platform/errors';
import {encodedPath} from './address';
import {type HubSettings, suppliedHubStore} from './settings';
import type {Incoming, Place} from './keptFile';
import {type Answer, sendToHub} from './request';

/** A file at a commit, and how it is requested. */
export interface HubFile {
  readonly place: Place;
  readonly settings: HubSettings;
  /** The error for a response that is no success. */
  readonly refusal: (answer: Answer) => Error;
}

/** A file from some byte on, as its host sends it. */
export interface FileBody {
  readonly version: Incoming;
  next(): Promise<Uint8Array<ArrayBuffer> | undefined>;
  cancel(): void;
}

export function urlOfFile({endpoint, repo, path}: Omit<Place, 'commit' | 'address'>, revision: string): string {
  return `${endpoint}/${repo}/resolve/${encodeURIComponent(revision)}/${encodedPath(path)}`;
}

/**
 * Requests a file from a byte on.
 *
 * @param expected the version that was requested before, which it must still be.
 * @throws LoRAError if the response is no success, contradicts itself, or is another version.
 */
export async function bodyAt(
  {place, settings, refusal}: HubFile,
  start: number,
  expected: Incoming | undefined,
  signal: AbortSignal,
): Promise<FileBody> {
  // A page would first have to ask both hosts whether it may send If-Range. It compares etags only.
  const condition = suppliedHubStore() === undefined ? undefined : expected?.validator;
  const answer = await sendToHub(urlOfFile(place, place.commit), settings, {
    signal,
    headers: {
      'accept-encoding': 'identity', // pages ignore it
      ...(start > 0 && {range: `bytes=${start}-`, ...(condition !== undefined && {'if-range': condition})}),
    },
  });
  const {response} = answer;
  const cancel = () => void response.body?.cancel().catch(() => undefined);
  try {
    if (!response.ok) {
      throw refusal(answer);
    }
    const version = versionOf(answer, place);
    const isOther = (name: 'etag' | 'bytes') =>
      expected?.[name] !== undefined && version[name] !== undefined && version[name] !== expected[name];
    if (isOther('etag') || isOther('bytes')) {
      throw ioError(`${place.address} changed while it was read. Load it again.`);
    }
    const [, from = ''] = /^bytes (\d+)-/.exec(response.headers.get('content-range') ?? '') ?? [];
    if (response.status === 206 && from !== '' && Number(from) !== start) {
      throw ioError(`${place.address} was requested from byte ${start} on, and is sent from byte ${from} on.`);
    }
    const reader = response.body?.getReader();
    // Some hosts send all of a file, whatever is requested.
    let skipped = response.status === 206 ? 0 : start;
    const next = async (): Promise<Uint8Array<ArrayBuffer> | undefined> => {
      for (;;) {
        const chunk = (await reader?.read())?.value;
        if (chunk === undefined || chunk.length > skipped) {
          const bytes = chunk?.subarray(skipped);
          skipped = 0;
          return bytes;
        }
        skipped -= chunk.length;
      }
    };
    return {version, next, cancel: () => void reader?.cancel().catch(() => undefined)};
  } catch (error) {
    cancel();
    throw error;
  }
}

/** The version of a file, by the headers of a response. */
function versionOf({response, hubHeaders}: Answer, {address, commit}: Place): Incoming {
  const {headers, status, type} = response;
  const etag = headers.get('etag');
  const identity = hubHeaders.get('x-linked-etag') ?? headers.get('x-linked-etag') ?? etag ?? `commit ${commit}`;
  const [, total] = /^bytes \d+-\d+\/(.+)$/.exec(headers.get('content-range') ?? '') ?? [];
  // A page cannot see whether another host compresses what it sends.
  const isPlain = status === 200 && type !== 'cors' && !headers.has('content-encoding');
  const sizes = [
    hubHeaders.get('x-linked-size') ?? headers.get('x-linked-size'),
    isPlain ? headers.get('content-length') : null,
    total === '*' ? null : total,
  ].filter(size => size != null);
  const [bytes] = sizes.map(size => (/^\d+$/.test(size) ? Number(size) : NaN));
  if (sizes.some(size => Number(size) !== bytes)) {
    throw ioError(`The hub contradicts itself about the size of ${address}: ${sizes.join(' and ')} bytes.`);
  }
  const isStrong = etag?.startsWith('"') === true;
  return {
    etag: identity.replace(/^W\//, '').replaceAll('"', ''),
    ...(bytes !== undefined && {bytes}),
    ...(isStrong && {validator: etag}),
  };
}
