from proxy.plugin import Plugin, PluginRequest


class Tenant(Plugin):
    def unit(self, request: PluginRequest) -> str | None:
        return request.headers.get(self.config["header"])
