class Study: pass
