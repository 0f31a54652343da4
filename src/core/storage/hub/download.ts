import {asLoRAError, ioError, LoRAError} from '../../../platform/errors';
import {throwIfAborted, unlessAborted} from '../../../platform/signals';
import {concatenate} from '../../../platform/formats/byteReader';
import {type FileCache, PIECE_BYTES} from './cache';
import {bodyAt, type FileBody, type HubFile} from './fileBody';
import {type Incoming, KeptFile} from './keptFile';

/** How often in a row a download that breaks off is continued. */
const MAX_FAILURES = 4;
const FIRST_PAUSE = 50;

/**
 * A response with a file of the hub: from the cache, or as it arrives, and then kept in the cache.
 *
 * @throws LoRAError if the hub refuses; what `fetch` throws if there is no response. So does reading the response.
 */
export async function openHubFile(
  file: HubFile,
  cache: FileCache | undefined,
  signal: AbortSignal | undefined,
): Promise<Response> {
  const ends = new AbortController();
  signal?.addEventListener('abort', () => ends.abort(signal.reason), {signal: ends.signal});
  const {place} = file;
  let version: Incoming | undefined = cache && (await KeptFile.versionAt(cache, place));
  let cachedFile = cache && version && (await KeptFile.of(cache, place, version));
  let body: FileBody | undefined;
  if ((await cachedFile?.completeVersion()) === undefined) {
    body = await bodyAt(file, 0, undefined, ends.signal);
    version = body.version;
    cachedFile = cache && (await KeptFile.of(cache, place, version));
    const complete = await cachedFile?.completeVersion();
    if (complete !== undefined || (await cachedFile?.piece(0, version.bytes)) !== undefined) {
      body.cancel();
      body = undefined;
    }
    if (complete !== undefined) {
      version = complete;
      await cachedFile?.finish(complete.bytes);
    }
  }
  const {bytes} = version as Incoming;
  const chunks = chunksOf(file, version as Incoming, {body, cachedFile, signal: ends.signal});
  const stream = new ReadableStream<Uint8Array<ArrayBuffer>>(
    {
      pull: async controller => {
        const {done, value} = await chunks.next();
        if (done === true) {
          controller.close();
        } else {
          controller.enqueue(value);
        }
      },
      cancel: async reason => {
        ends.abort(reason);
        await chunks.return();
      },
    },
    {highWaterMark: 0},
  );
  const headers: HeadersInit = bytes === undefined ? {} : {'content-length': String(bytes)};
  return Object.defineProperty(new Response(stream, {headers}), 'url', {value: place.address});
}

interface Opened {
  body: FileBody | undefined;
  cachedFile: KeptFile | undefined;
  signal: AbortSignal;
}

/** The bytes of a file: pieces of the cache, and what arrives. */
async function* chunksOf(
  file: HubFile,
  version: Incoming,
  {body: first, cachedFile, signal}: Opened,
): AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined> {
  const {address} = file.place;
  const {bytes} = version;
  const pieces = new PieceWriter(cachedFile);
  let body = first;
  let position = 0;
  let failures = 0;
  let failedAt = 0;
  try {
    while (position !== bytes) {
      const piece = body === undefined ? await pieces.stored(position, bytes) : undefined;
      throwIfAborted(signal);
      if (piece !== undefined) {
        position += piece.length;
        yield piece;
        continue;
      }
      let chunk: Uint8Array<ArrayBuffer> | undefined;
      try {
        body ??= await bodyAt(file, position, version, signal);
        chunk = await body.next();
        if (chunk === undefined && bytes !== undefined) {
          throw new Error('the connection ended');
        }
      } catch (error) {
        body?.cancel();
        body = undefined;
        throwIfAborted(signal);
        failures = position - failedAt < PIECE_BYTES ? failures + 1 : 1;
        failedAt = position;
        if (error instanceof LoRAError || failures > MAX_FAILURES) {
          const end = bytes === undefined ? '' : ` of ${bytes.toLocaleString('en')}`;
          const place = `byte ${position.toLocaleString('en')}${end}`;
          throw asLoRAError(error, `${address} broke off after ${place}`, 'ERR_IO');
        }
        await pause(FIRST_PAUSE * 2 ** failures, signal);
        continue;
      }
      if (chunk === undefined) {
        break;
      }
      position += chunk.length;
      if (bytes !== undefined && position > bytes) {
        throw ioError(`${address} should have ${bytes.toLocaleString('en')} bytes, and its host sends more.`);
      }
      await pieces.add(chunk);
      // Who reads the last byte need not ask for more.
      await (position === bytes ? pieces.finish(position) : undefined);
      yield chunk;
    }
    await pieces.finish(position);
  } finally {
    body?.cancel();
  }
}

/** Keeps what arrives, in pieces. */
class PieceWriter {
  private chunks: Uint8Array[] = [];
  private length = 0;
  private index = 0;
  private isFinished = false;

  constructor(private readonly cachedFile: KeptFile | undefined) {}

  /** The piece that begins at a position, unless something of it has arrived already. */
  async stored(position: number, bytes: number | undefined): Promise<Uint8Array<ArrayBuffer> | undefined> {
    if (this.cachedFile === undefined || this.length > 0) {
      return undefined;
    }
    this.index = position / PIECE_BYTES;
    return this.cachedFile.piece(this.index, bytes);
  }

  async add(chunk: Uint8Array): Promise<void> {
    if (this.cachedFile === undefined) {
      return;
    }
    this.chunks.push(chunk);
    this.length += chunk.length;
    if (this.length >= PIECE_BYTES) {
      const bytes = concatenate(this.chunks);
      const end = bytes.length - (bytes.length % PIECE_BYTES);
      for (let start = 0; start < end; start += PIECE_BYTES) {
        await this.cachedFile.keep(this.index++, bytes.slice(start, start + PIECE_BYTES));
      }
      [this.chunks, this.length] = [[bytes.slice(end)], bytes.length - end];
    }
  }

  async finish(position: number): Promise<void> {
    if (this.isFinished || this.cachedFile === undefined) {
      return;
    }
    this.isFinished = true;
    if (this.length > 0) {
      await this.cachedFile.keep(this.index, concatenate(this.chunks));
    }
    await this.cachedFile.finish(position);
  }
}

/** Lets a host rest before it is asked again. */
async function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  await unlessAborted(new Promise(resolve => setTimeout(resolve, milliseconds)), signal);
}
