/** Modules that exporters join to one product, in the order of its outputs. */
export const JOINED: Readonly<Record<string, readonly string[]>> = {
  qkv_proj: ['q_proj', 'k_proj', 'v_proj'],
  gate_up_proj: ['gate_proj', 'up_proj'],
};

/** A module's path as this library compares it: `attn` and `self_attn` are the same module. */
export function asModule(path: string): string {
  return path.replace(/(^|\.)(?:attn|attention)\.(?=(?:q|k|v|o|qkv)_proj)/, '$1self_attn.');
}
