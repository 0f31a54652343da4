/** A message of a chat. */
export interface ChatMessage {
  /** `'system'`, `'user'`, `'assistant'`, `'tool'`, or another role that the chat template names. */
  role:
    ('system' | 'developer' | 'user' | 'assistant' | 'tool' | 'function' | 'ipython') | (string & Record<never, never>);
  /** The text of the message. */
  content: string;
}

export const ROLES: readonly ChatMessage['role'][] = [
  ...['system', 'developer', 'user', 'assistant', 'tool', 'function', 'ipython'],
];

/** Whether a value is a non-empty list of messages. */
export function isMessages(value: unknown): value is readonly ChatMessage[] {
  const isMessage = (message: unknown) => {
    const {role, content} = (message ?? {}) as Partial<Record<keyof ChatMessage, unknown>>;
    return typeof role === 'string' && typeof content === 'string';
  };
  return Array.isArray(value) && value.length > 0 && value.every(isMessage);
}
