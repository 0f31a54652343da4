// A server that answers as the Hugging Face hub does, and a second one, the other host to which it redirects large files.

import {createHash} from 'node:crypto';
import {createServer, type IncomingMessage, type ServerResponse} from 'node:http';
import {listen} from './chromium';

/** What goes wrong with a file. */
export interface Fault {
  /** The connection ends after so many bytes of each response. */
  dropAfter?: number;
  /** Until when the connection stays: bytes that were not read when it ends are lost. */
  whenRead?: Promise<void>;
  /** How often that happens. Default: always. */
  times?: number;
  /** The size that `X-Linked-Size` claims. */
  linkedSize?: number | string;
  /** The host ignores ranges. */
  noRanges?: boolean;
  /** The etag is a weak one. */
  weak?: boolean;
  /** Sends this range, whatever is requested. */
  sentFrom?: number;
  status?: number;
  location?: string;
}

type Files = Record<string, Uint8Array | string>;

export class HubServer {
  /** The commits of each repository, the last of which is `main`. */
  readonly repos = new Map<string, {commit: string; files: Files}[]>();
  readonly gated = new Map<string, string>();
  readonly faults = new Map<string, Fault>();
  /** What was requested: `GET /org/name/…`, with the range. */
  requests: string[] = [];
  /** What the other host must not see. */
  readonly leaks: string[] = [];
  /** How long the list of files is at least: spaces are appended. */
  listLength = 0;
  /** What is asked for the files of a repository gets: 200 is the list. */
  listStatus = 200;
  showsCommit = true;
  isOffline = false;
  exposed = 'X-Repo-Commit,X-Error-Code,ETag,Content-Range,X-Linked-Size,X-Linked-ETag';
  url = '';
  otherUrl = '';
  private readonly hub = createServer((request, response) => this.answer(request, response));
  private readonly other = createServer((request, response) => this.answerAsOther(request, response));

  async start(): Promise<this> {
    this.url = await listen(this.hub);
    this.otherUrl = await listen(this.other);
    return this;
  }

  close(): void {
    for (const server of [this.hub, this.other]) {
      server.closeAllConnections();
      server.close();
    }
  }

  /** Adds a commit to a repository, and returns its name. */
  push(repo: string, files: Files): string {
    const commits = this.repos.get(repo) ?? [];
    const commit = createHash('sha1').update(`${repo} ${commits.length}`).digest('hex');
    this.repos.set(repo, [...commits, {commit, files}]);
    return commit;
  }

  /** The requests whose addresses contain a text. */
  asked(text: string): string[] {
    return this.requests.filter(request => request.includes(text));
  }

  private answer(request: IncomingMessage, response: ServerResponse): void {
    const {method = 'GET', url = '/', headers} = request;
    this.requests.push(`${method} ${url}${headers.range === undefined ? '' : ` ${headers.range}`}`);
    if (this.isOffline) {
      request.socket.destroy();
      return;
    }
    allow(response, this.exposed);
    if (method === 'OPTIONS') {
      response.setHeader('access-control-allow-headers', 'authorization, range').end();
      return;
    }
    const refuse = (status: number, code: string) => response.writeHead(status, {'x-error-code': code}).end();
    const [, api, repo = '', revision = '', path = ''] =
      /^\/(api\/models\/|api\/resolve-cache\/models\/)?([^/]+\/[^/]+)\/(?:resolve\/|revision\/)?([^/]+)(?:\/(.*))?$/.exec(
        url,
      ) ?? [];
    const commits = this.repos.get(repo);
    if (commits === undefined) {
      refuse(headers.authorization === undefined ? 401 : 404, 'RepoNotFound');
      return;
    }
    const found = revision === 'main' ? commits.at(-1) : commits.find(({commit}) => commit === revision);
    if (found === undefined) {
      refuse(404, 'RevisionNotFound');
      return;
    }
    const {commit, files} = found;
    if (api === 'api/models/') {
      const json = {sha: commit, siblings: Object.keys(files).map(rfilename => ({rfilename}))};
      const text = JSON.stringify(json).padEnd(this.listLength);
      response.writeHead(this.listStatus).end(this.listStatus === 200 ? text : 'Not here');
      return;
    }
    const token = this.gated.get(repo);
    if (token !== undefined && headers.authorization !== `Bearer ${token}`) {
      refuse(headers.authorization === undefined ? 401 : 403, 'GatedRepo');
      return;
    }
    if (this.showsCommit) {
      response.setHeader('x-repo-commit', commit);
    }
    const name = decodeURIComponent(path);
    const content = files[name];
    const fault = this.faults.get(name) ?? {};
    if (content === undefined || fault.status !== undefined) {
      refuse(fault.status ?? 404, 'EntryNotFound');
      return;
    }
    const bytes = typeof content === 'string' ? new TextEncoder().encode(content) : content;
    if (/\.(?:safetensors|onnx|gguf|bin)$/.test(name)) {
      const etag = createHash('sha256').update(bytes).digest('hex');
      response.writeHead(302, {
        location: fault.location ?? `${this.otherUrl}/${repo}/${commit}/${path}?signature=1`,
        'x-linked-etag': `"${etag}"`,
        'x-linked-size': String(fault.linkedSize ?? bytes.length),
      });
      response.end();
    } else if (name.endsWith('.json') && api === undefined) {
      response.writeHead(307, {location: `/api/resolve-cache/models/${repo}/${commit}/${path}`}).end();
    } else {
      this.send(request, response, bytes, fault);
    }
  }

  private answerAsOther(request: IncomingMessage, response: ServerResponse): void {
    const {method = 'GET', url = '/', headers} = request;
    const {authorization, 'access-control-request-headers': wanted = ''} = headers;
    if (authorization !== undefined || wanted.includes('authorization')) {
      this.leaks.push(`${method} ${url}`);
    }
    this.requests.push(`other ${method} ${url}${headers.range === undefined ? '' : ` ${headers.range}`}`);
    allow(response, 'ETag,Content-Range');
    if (method === 'OPTIONS') {
      response.setHeader('access-control-allow-headers', '*, authorization').end();
      return;
    }
    const [, repo = '', commit = '', path = ''] = /^\/([^/]+\/[^/]+)\/([^/]+)\/(.*)\?/.exec(url) ?? [];
    const name = decodeURIComponent(path);
    const content = this.repos.get(repo)?.find(candidate => candidate.commit === commit)?.files[name] ?? '';
    const bytes = typeof content === 'string' ? new TextEncoder().encode(content) : content;
    this.send(request, response, bytes, this.faults.get(name) ?? {});
  }

  private send({method, headers}: IncomingMessage, response: ServerResponse, bytes: Uint8Array, fault: Fault): void {
    const {dropAfter, whenRead = Promise.resolve(), times = Infinity, noRanges = false, weak = false, sentFrom} = fault;
    const etag = `${weak ? 'W/' : ''}"${createHash('md5').update(bytes).digest('hex')}"`;
    const {range, 'if-range': condition = etag} = headers;
    const [, asked] = /^bytes=(\d+)-$/.exec(range ?? '') ?? [];
    const isPart = asked !== undefined && !noRanges && condition === etag;
    const start = isPart ? (sentFrom ?? Number(asked)) : 0;
    if (isPart && start >= bytes.length) {
      response.writeHead(416).end();
      return;
    }
    response.writeHead(isPart ? 206 : 200, {
      etag,
      'content-length': bytes.length - start,
      ...(isPart && {'content-range': `bytes ${start}-${bytes.length - 1}/${bytes.length}`}),
    });
    if (method === 'HEAD') {
      response.end();
    } else if (dropAfter !== undefined && times > 0 && start + dropAfter < bytes.length) {
      fault.times = times - 1;
      response.flushHeaders();
      response.write(bytes.subarray(start, start + dropAfter), () => void whenRead.then(() => response.destroy()));
    } else {
      response.end(bytes.subarray(start));
    }
  }
}

function allow(response: ServerResponse, exposed: string): void {
  response.setHeader('access-control-allow-origin', '*').setHeader('access-control-expose-headers', exposed);
}
