/** Pages whose code has no *Run*, or what such blocks of code begin with, with the reason. */
export const NOT_RUN: Readonly<Record<string, string | Readonly<Record<string, string>>>> = {
  backends: 'It chooses the backend of a program in Node, or of a page that is built.',
  'examples-attention': 'It takes the example from its folder.',
  'examples-graph': 'It loads published models.',
  'examples-hand': 'It loads a published model.',
  federated: 'It needs a server.',
  language: {'const {model: large}': 'The weights stay in a file.'},
  memory: {'const adapter = await loadAdapter(': 'It reads a file.'},
  peft: 'It reads and writes folders.',
  saving: {'import {fileHandler}': 'It is for Node.'},
  troubleshooting: 'It reads a file.',
};
